"""What the notebooks share: a step with its broker, clean-up of everything started, and drawing.

A kernel holds one step. Everything it starts ends with it, however it ends, and so do all their files.
"""

import asyncio
import html
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from email import message_from_bytes, policy
from urllib.parse import urlsplit

import matplotlib.pyplot as plt
import redis
from IPython import get_ipython
from IPython.display import HTML, display
from IPython.display import Image as Picture
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from tutorial.course.steps import find_step
from tutorial.services.broker import Broker, NoBroker, reachable_broker
from tutorial.services.browser import chromium, launch_options
from tutorial.services.processes import guard_children, wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Site

# Colours that people with any kind of colour vision can tell apart (Okabe and Ito).
# Orange is for areas only: as text or a thin line on white it is too pale.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B7280"
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.figsize": (4.9, 4),  # inches; on a phone its text is as large as the page's small print
    "font.size": 12,
    "grid.color": "#E5E7EB",
    "legend.frameon": False,
}
_exits = ExitStack()
_opened: tuple | None = None
_closed = False


class StopHere(Exception):
    """Stops a notebook in two lines, without a traceback: what is wrong, and what to do."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"{what}\n{remedy}")

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def open_step(name: str, mail_server: MailServer | None = None, env: dict[str, str] | None = None):
    """Start a broker, make a database for a step and set Django up in this kernel.

    Args:
        name: The step's directory, such as `step01_setup`.
        mail_server: A mail server for the step's mails; it is started and ends with the kernel.
        env: More variables for the step's environment, in this kernel and in its processes.

    Returns:
        The step as a `tutorial.testing.site.Site`, and a redis-py client for the broker.

    Raises:
        StopHere: There is no broker, or this kernel holds another step.
    """
    global _opened
    if _opened and (_closed or _opened[0].step.name != name):
        raise StopHere("This kernel has held a step already.", "Restart the kernel and run all cells.")
    if not _opened:
        _guard()
        url = _broker_url()
        if mail_server:
            _exits.enter_context(mail_server)
            env = mail_server.env | (env or {})
        site = _exits.enter_context(Site(find_step(name), url, env))
        client = _exits.enter_context(redis.Redis.from_url(url, decode_responses=True))
        _set_up_django(site, env or {})
        plt.rcParams.update(STYLE)
        _opened = site, client
    print(f"{name} is ready. Its broker speaks the Redis protocol and is empty.")
    return _opened


def close() -> None:
    """End everything that was started, in order."""
    global _closed
    _exits.close()
    _closed = True
    print("Everything that this notebook started has ended.")


def _guard() -> None:
    directory = os.path.realpath(tempfile.mkdtemp(prefix="notebook-"))
    guard_children(directory)
    _exits.callback(shutil.rmtree, directory, ignore_errors=True)
    # Children inherit the place for their files.
    os.environ["TMPDIR"] = tempfile.tempdir = directory


def _broker_url() -> str:
    try:
        return _exits.enter_context(Broker()).url
    except NoBroker as embedded:
        try:
            url, reason = reachable_broker(), embedded
        except NoBroker as configured:
            url, reason = None, configured
    if url is None:
        what, _, remedy = str(reason).partition(". ")
        raise StopHere(f"{what}.", f"{remedy} Then run this cell again.")
    return _empty_database(url)


def _empty_database(url: str) -> str:
    """Return the address of an empty database of a broker that others may use; empty it at the end."""
    for number in range(15, 0, -1):
        candidate = urlsplit(url)._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(candidate) as client:
            if client.dbsize() == 0:
                _exits.callback(redis.Redis.from_url(candidate).flushdb)
                return candidate
    raise StopHere(
        "The broker has no empty database for this notebook.", "Empty one of its databases 1 to 15."
    )


def _set_up_django(site: Site, env: dict[str, str]) -> None:
    names = ["DATABASE_PATH", "DJANGO_SETTINGS_MODULE", "REDIS_URL", *env]
    os.environ.update({name: site.env[name] for name in names})
    sys.path.insert(0, str(site.step))
    import django

    django.setup()


class SlowMailServer(MailServer):
    """A mail server that needs time, can refuse at first, and notes every attempt.

    Args:
        delay: Seconds it takes for a mail.

    Attributes:
        refuse: How many attempts at each mail it refuses for now, with code 451. Mails differ by their text.
        answer_late: The texts of mails that it takes at once, but doesn't answer while `stall` is clear.
        log: For each attempt its time (`time.monotonic()`), the mail's text and whether it was refused.
        hung_up: How many clients have gone away before they got their answer.
    """

    def __init__(self, delay: float = 0):
        super().__init__()
        self.delay, self.refuse, self.hung_up = delay, 0, 0
        self.answer_late: set[str] = set()
        self.log: list[tuple[float, str, bool]] = []
        self._seen = Counter()

    async def handle_DATA(self, server, session, envelope) -> str:
        """Take or refuse a mail. Called by aiosmtpd, whose name for it this is."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text = mail.get_content().strip()
        self._seen[text] += 1
        refused = self._seen[text] <= self.refuse
        self.log.append((time.monotonic(), text, refused))
        if refused:
            return "451 come back later"
        try:
            if text in self.answer_late:
                self.messages.append(mail)
                await asyncio.to_thread(self.stall.wait, 60)
                return "250 taken"
            await asyncio.sleep(self.delay)
            return await super().handle_DATA(server, session, envelope)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise


def mask(text: str) -> str:
    """Replace each random or very long id in a text by a number in brackets, in the order of appearance."""
    return re.sub(r"[0-9a-f]{32,}", lambda match: f"‹{_ids.setdefault(match[0], len(_ids) + 1)}›", text)


_ids: dict[str, int] = {}


def keys(client: redis.Redis) -> list[tuple[str, str, int, str]]:
    """Return the broker's keys: name, type, number of entries and seconds to live, ids masked."""
    count = {"zset": client.zcard, "list": client.llen, "hash": client.hlen, "set": client.scard}
    rows = []
    for key in sorted(client.scan_iter()):
        kind, ttl = client.type(key), client.ttl(key)
        entries = count[kind](key) if kind in count else 1
        rows.append((mask(key), kind, entries, f"{ttl} s" if ttl >= 0 else "no end"))
    return rows


def table(columns: Sequence[str], rows: Iterable[Sequence], empty: str = "(none)") -> None:
    """Show rows as a table, figures to the right; the text in them is escaped."""
    head, *body = ([html.escape(str(cell)) for cell in row] for row in (columns, *rows))
    figure = re.compile(r"-?[\d.,]+( ?(s|ms|µs|%|MiB|bytes))?")
    kinds = [
        'class="text-right"' if column and all(map(figure.fullmatch, column)) else 'style="text-align: left"'
        for column in ([row[number] for row in body] for number in range(len(head)))
    ]
    titles = "".join(f"<th {kind}>{title}</th>" for kind, title in zip(kinds, head, strict=True))
    lines = [
        "".join(
            f'<td {kind} data-label="{title}">{cell}</td>'
            for kind, title, cell in zip(kinds, head, row, strict=True)
        )
        for row in body
    ] or [f'<td colspan="{len(head)}">{empty}</td>']
    # Classes and labels are for the site: there it has lines, and on a phone one cell below the other.
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    display(HTML(f'<table class="docutils"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'))


def show_keys(client: redis.Redis, when: str) -> list[tuple]:
    """Show the broker's keys at a moment and return them."""
    print(when)
    rows = keys(client)
    table(["key", "type", "entries", "lives for"], rows, "(no key)")
    return rows


async def until(condition: Callable[[], object], what: str, seconds: float = 60) -> object:
    """Wait for a condition while the kernel's event loop goes on.

    Args:
        condition: The function, called in another thread; its first true answer is returned.
        what: What is waited for, in words for the error.
        seconds: How long to go on asking.

    Raises:
        TimeoutError: It was never true.
    """
    return await asyncio.to_thread(wait_until, condition, seconds, what)


def show(figure: Figure, alt: str) -> None:
    """Show a picture as large as its text needs it, with words for it.

    Args:
        figure: The picture.
        alt: What it says, for those who don't see it.
    """
    picture = io.BytesIO()
    figure.savefig(picture, bbox_inches="tight")
    plt.close(figure)
    display(Picture(picture.getvalue(), alt=alt))


def draw_sequence(lanes: Sequence[str], arrows: Sequence[tuple], title: str) -> None:
    """Draw a recording as a sequence diagram, time running downwards.

    Args:
        lanes: The participants, from left to right.
        arrows: For each call its time in milliseconds, its source, its target and its label.
        title: The title.
    """
    figure, axes = plt.subplots(figsize=(4.9, 2.1 + 0.36 * len(arrows)))
    colors = dict(
        zip(dict.fromkeys(lane.split()[0] for lane in lanes), [BLUE, RED, GREEN, GREY], strict=False)
    )
    for x, lane in enumerate(lanes):
        axes.plot([x, x], [0, len(arrows)], color="#D1D5DB", lw=1.5, zorder=0)
        axes.text(x, -0.2, lane, rotation=90, ha="center", color=colors[lane.split()[0]], weight="bold")
    axes.text(-0.6, -0.2, "ms", ha="right", color=GREY)
    for y, (milliseconds, source, target, label) in enumerate(arrows):
        start, end = lanes.index(source), lanes.index(target)
        color = colors[source.split()[0]]
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end, y + 0.7), (start, y + 0.7), arrowprops=arrow)
        place = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        near = start + (0.5 if end > start else -0.5)
        axes.text(near, y + 0.57, label, ha="center", va="bottom", color=color, bbox=place, zorder=3)
        axes.text(-0.6, y + 0.7, f"{milliseconds:.1f}", ha="right", va="center", color=GREY)
    axes.set(xlim=(-1.6, len(lanes) - 0.6), ylim=(len(arrows) + 0.1, -5.4), title=title)
    axes.axis("off")
    calls = [f"after {ms:.1f} ms {source} to {target}: {label}" for ms, source, target, label in arrows]
    show(figure, f"{' '.join(title.split())}: {'; '.join(calls)}.")


def chromium_or_say_so() -> str | None:
    """Return the path of a Chromium, or None; then cells that begin with `# Needs a browser.` only say so."""

    def skip(lines: list[str]) -> list[str]:
        if lines and lines[0].startswith("# Needs a browser."):
            return ['print("Left out: there is no Chromium or Chrome on PATH.")\n']
        return lines

    path = chromium()
    if path is None:
        get_ipython().input_transformers_cleanup.append(skip)
        print("There is no Chromium or Chrome on PATH. The cells that need one are left out.")
    return path


def side_by_side(screenshots: Sequence[bytes], title: str) -> None:
    """Show PNG images of the same height beside each other, with a border around each."""
    images = [ImageOps.expand(Image.open(io.BytesIO(data)).convert("RGB"), 1, GREY) for data in screenshots]
    gap = 24
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    canvas = Image.new("RGB", (width, images[0].height), "white")
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + gap
    picture = io.BytesIO()
    canvas.quantize(128).save(picture, "png")
    print(title)
    display(Picture(picture.getvalue(), alt=f"Screenshots: {title}."))


async def open_browser(path: str):
    """Start a headless Chromium, driven by Playwright; it ends with the kernel.

    Args:
        path: The program, as `chromium_or_say_so()` returns it.
    """
    from playwright.async_api import async_playwright

    playwright = await async_playwright().start()
    return await playwright.chromium.launch(**launch_options() | {"executable_path": path})
