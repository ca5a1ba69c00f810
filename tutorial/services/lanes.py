"""The packages that the lock wants, and whether those of the other lane are among the installed ones."""

from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.version import Version

from tutorial.course.steps import ROOT

LOCK = ROOT / "requirements.txt"
# What the lanes differ in.
APART = {"django": "Django", "redis": "redis-py"}
REINSTALL = "Delete .venv and run `make setup`: it installs what the lock says."
NEWER = "For the newer versions: `make LANE=next setup`, then `cd .next`."


class MixedLanes(Exception):
    """Raised where the environment has packages of the other lane; its text says which, and what to do."""


def locked() -> list[Requirement]:
    """Return what the lock wants on this machine."""
    lines = LOCK.read_text().replace("\\\n", " ").splitlines()
    texts = [line.partition(" --hash")[0].strip() for line in lines if line and line[0] not in "# "]
    return [one for one in map(Requirement, texts) if one.marker is None or one.marker.evaluate()]


def installed(name: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def need_one_lane() -> None:
    """Look whether Django and redis-py are those of this lane.

    Raises:
        MixedLanes: One of them has another major version than in the lock.
    """
    wanted = {one.name: str(one.specifier).lstrip("=") for one in locked() if one.name in APART}
    found = {name: installed(name) for name in wanted}
    if any(have and Version(have).major != Version(wanted[name]).major for name, have in found.items()):
        have = " and ".join(f"{APART[name]} {found[name]}" for name in wanted)
        want = " and ".join(wanted.values())
        raise MixedLanes(f"Two lanes are mixed: {have} in .venv, {want} in {LOCK.name}. {REINSTALL} {NEWER}")
