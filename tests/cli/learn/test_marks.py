"""`tutorial check --json` and `tutorial report`: marks for another program, which no tampering changes."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.cli.conftest import contents, replace
from tutorial.course.assignment import step_assignment
from tutorial.course.steps import ROOT
from tutorial.learn import playground
from tutorial.learn.playground import State

SCHEMA = Draft202012Validator(json.loads((ROOT / "docs/check.schema.json").read_text()))
WORKFLOW = ROOT / "docs/check-workflow.yml"
PASSES = "def test_{}():\n    pass\n"


@pytest.fixture
def judged(tutorial):
    """A function that runs `check --json` and returns exit status and object, which fits the schema."""

    def judged(*words):
        done = tutorial("check", *words, "--json")
        found = json.loads(done.stdout)
        SCHEMA.validate(found)
        return done.exit_code, found

    return judged


def without_daphne(directory):
    """Take from step 1 what its last requirement asks for."""
    replace(directory, "config/settings.py", '    "daphne",  # ', '    # "daphne",  # ')
    return directory


def tampered(directory):
    """Change all that could make pytest pass whatever the code does."""
    for path in (directory / "tests").glob("test_*.py"):
        path.write_text(PASSES.format(path.stem))
    (directory / "tests/conftest.py").write_text("collect_ignore_glob = ['*']\n")
    skips = "import pytest\ndef pytest_runtest_setup(item):\n    pytest.skip('all good')\n"
    (directory / "conftest.py").write_text(skips)
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --collect-only -k nothing\n")
    (directory / "setup.cfg").write_text("[tool:pytest]\naddopts = --collect-only\n")
    (directory / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--collect-only'\n")
    (directory / "tests/__init__.py").write_text("raise SystemExit(0)\n")
    return directory


def test_the_object_says_what_is_met_and_where_the_first_problem_is(judged, project):
    """Each requirement has its state, its seconds and its problem; the exit status is the usual one."""
    code, found = judged(1, without_daphne(project(1)))
    assert (code, found["done"]) == (1, False)
    states = {each["name"]: each["state"] for each in found["requirements"]}
    assert states["test_the_layer_is_redis"] == "done"
    assert states["test_a_real_server_speaks_asgi"] == "not yet"
    assert found["met"] == list(states.values()).count("done") == found["of"] - 1
    [problem] = [each["problem"] for each in found["requirements"] if each["problem"]]
    assert problem["file"] == "config/settings.py"
    assert "daphne" in problem["what"] + str(found)
    assert all(each["seconds"] >= 0 for each in found["requirements"])


def test_what_cannot_be_judged_is_in_the_object(judged, tutorial, project, tmp_path):
    """A missing file leaves all requirements unjudged; a directory without a project gives no object."""
    code, found = judged(2, project(1))
    assert code == 1
    assert {each["state"] for each in found["requirements"]} == {"not judged"}
    assert {"chat/consumers.py"} <= {each["file"] for each in found["problems"]}
    done = tutorial("check", "1", tmp_path / "nothing", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "tutorial start 1" in done.stderr


def test_tampered_tests_change_nothing(tutorial, project, tmp_path):
    """A report judges with the course's tests, changes no file, and keeps a row for what it can't judge."""
    honest = without_daphne(project(1)).rename(tmp_path / "=honest")
    cheat = tampered(without_daphne(project(1))).rename(tmp_path / "cheat")
    (tmp_path / "empty").mkdir()
    (own := tmp_path / "own").mkdir()
    State("their_exercise").write(own)
    before = contents(tmp_path)
    done = tutorial("report", honest, cheat, tmp_path / "empty", own, "--as", "csv")
    assert done.exit_code == 1
    assert contents(tmp_path) == before
    one, two, three, four = csv.DictReader(io.StringIO(done.stdout))
    assert one["name"] == "'=honest", "a spreadsheet would take the name for a formula"
    assert (one["step01_setup met"], one["step01_setup of"]) == ("4", "5")
    assert one | two == two | {"name": "cheat"} | {key: two[key] for key in ("changed",)}
    assert one["note"].startswith("config/settings.py")
    assert three["name"] == "empty"
    assert "no Django project" in three["note"]
    assert "There is no step or exercise 'their_exercise'" in four["note"]


def test_a_report_has_a_row_for_each_playground(tutorial, tmp_path):
    """It finds the playground in a repository, names its step, and says what it was begun with."""
    playground.start(step_assignment("2"), tmp_path / "alice/playground")
    table = tutorial("report", tmp_path / "alice")
    assert table.exit_code == 0
    assert "step02_consumer" in table.stdout
    assert "alice: chat/" in table.stdout, "the first problem is below the table"
    done = tutorial("report", tmp_path / "alice", "--by", "1", "--as", "json")
    [row] = json.loads(done.stdout)["playgrounds"]
    assert (row["name"], row["met"], row["of"]) == ("alice", {"step01_setup": 5}, {"step01_setup": 5})
    assert row["course"]
    assert row["changed"][:2] == "20"
    assert tutorial("report", tmp_path / "nowhere").exit_code == 2
    wrong = tutorial("report", tmp_path / "alice", "--by", "rooting")
    assert (wrong.exit_code, "Did you mean" in wrong.stderr) == (2, True)


@pytest.mark.long
def test_the_workflow_is_valid_and_its_commands_run(project, tmp_path):
    """GitHub's schema accepts it; the command that judges gives an object and the usual exit status."""
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    subprocess.run([*tool, WORKFLOW], check=True, capture_output=True)
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["check"]["steps"]
    [judge] = [step for step in steps if "tutorial check" in step.get("run", "")]
    (tmp_path / "course").symlink_to(ROOT)
    without_daphne(project(1)).rename(tmp_path / "mine")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", judge["run"]],  # as GitHub runs it
        cwd=tmp_path / judge["working-directory"],
        env=dict(os.environ),
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    SCHEMA.validate(found)
    assert not found["done"]
