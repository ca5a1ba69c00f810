"""Read the pages whose texts are compared with the output of a mistake."""

import re
from dataclasses import dataclass
from pathlib import Path

OWNERS = {
    "channels": "django",
    "channels_redis": "django",
    "celery": "celery",
    "kombu": "celery",
    "playwright": "microsoft",
}
ENTRY = re.compile(r"^\((\w+)\)=\n### [^\n]+\n(.*?)(?=^\(\w+\)=$|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run, and its placeholder on both sides of a comparison.
VARIABLE = {
    r"\x1b\[[\d;]*m": "",
    r"(127\.0\.0\.1|localhost)(:|', )\d+": r"\1\2PORT",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "ID",
    r"0x[0-9a-f]+": "ADDRESS",
    r"\d+\.\d+(e-\d+)?s\b": "SECONDS",
    r"\[?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+: ?": "[TIME: ",
    r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]": "[TIME]",
    r"ForkPoolWorker-\d+": "ForkPoolWorker-N",
}


@dataclass
class Entry:
    """One entry of a page: the heading of its part, and all of it as written."""

    section: str
    body: str

    @property
    def texts(self) -> list[str]:
        """Its blocks of text: what is printed, logged or raised."""
        return [text.strip() for info, text in BLOCK.findall(self.body) if info == "text"]

    @property
    def quotes(self) -> list[str]:
        """Its blocks of code."""
        return [text.strip() for info, text in BLOCK.findall(self.body) if info != "text"]

    @property
    def reported(self) -> bool:
        """Whether it comes from a report and isn't provoked here."""
        return "- **Reported:** " in self.body


def read_page(path: Path) -> dict[str, Entry]:
    """Return a page's entries, third-level headings, by the target before each, such as `(s01)=`."""
    parts = [part.partition("\n") for part in path.read_text().split("\n## ")[1:]]
    return {name: Entry(section, body) for section, _, part in parts for name, body in ENTRY.findall(part)}


def normalised(text: str) -> list[str]:
    """Return the lines of a text with what differs from run to run replaced, and colours removed."""
    for pattern, replacement in VARIABLE.items():
        text = re.sub(pattern, replacement, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def missing(text: str, said: str) -> list[str]:
    """Return the lines of a block that are no whole lines of what was said, in order; `…` is any part."""
    rest = iter(normalised(said))
    absent = []
    for line in normalised(text):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        if not any(pattern.fullmatch(candidate) for candidate in rest):
            absent.append(line)
    return absent


def check_links(page: Path) -> None:
    """Assert that a page's links to files lead somewhere, and that threads have the address of their name."""
    for name, address in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", page.read_text()):
        thread = re.fullmatch(r"(\w+)#(\d+)", name)
        if thread:
            assert address == f"https://github.com/{OWNERS[thread[1]]}/{thread[1]}/issues/{thread[2]}"
        else:
            file, _, target = address.partition("#")
            path = page.parent / file if file else page
            assert path.is_file(), address
            assert not target or target in read_page(path), address
