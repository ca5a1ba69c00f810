"""The page about newer versions shows what differs between the lanes, and its changes fit."""

import re
import shutil
import subprocess

import pytest

from tests.lessons.playground import Typed
from tutorial.course.steps import ROOT

PAGE = ROOT / "docs/newer-versions.md"
CHANGES = PAGE.with_suffix(".diff")
SETTINGS = ("step05_celery/config/settings.py", "step05_celery/config/production.py")
# The second lane has the changes already.
NEXT = "MAILERS" in (ROOT / SETTINGS[0]).read_text()


@pytest.fixture
def changed(tmp_path):
    """The files that the changes are for, before and after them, by their names."""
    if not shutil.which("git"):
        pytest.skip("git isn't installed; it applies the changes")
    names = re.findall(r"^\+\+\+ b/(.*)$", CHANGES.read_text(), re.MULTILINE)
    here = {name: (ROOT / name).read_text() for name in names}
    for name, text in here.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = ["git", "apply", *(["--reverse"] if NEXT else []), CHANGES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}See CONTRIBUTING.md, Two lanes."
    there = {name: (tmp_path / name).read_text() for name in names}
    return (there, here) if NEXT else (here, there)


def test_who_follows_the_page_has_the_settings_of_the_next_lane(changed):
    """The diffs on the page, typed into the default lane's settings, give those of the next lane."""
    before, after = changed
    typed = Typed({name: before[name] for name in SETTINGS})
    text = PAGE.read_text()
    for block in re.finditer(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        *_, name = re.findall(r"`(step05_celery/\S+\.py)`", text[: block.start()])
        typed.change(name, block[1])
    assert typed == {name: after[name] for name in SETTINGS}


def test_no_other_step_differs(changed):
    """Of the five steps, only step 5's settings differ between the lanes, and what two lessons show."""
    differ = {name for name in changed[0] if name.startswith("step")}
    assert differ == {*SETTINGS, "step01_setup/README.md", "step05_celery/README.md"}


@pytest.mark.skipif(not shutil.which("make"), reason="make isn't installed")
def test_a_lane_that_does_not_exist_is_refused():
    """`make LANE=both test` says which lanes there are."""
    done = subprocess.run(["make", "LANE=both", "test"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert 'LANE is default or next, and not "both".' in done.stderr
