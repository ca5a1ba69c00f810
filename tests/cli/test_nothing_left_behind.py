"""A command killed with SIGKILL can't clean up, and still none of its processes stays behind."""

import contextlib
import json
import os
import subprocess
import sys
import uuid

import psutil
import pytest

from tests.cli.conftest import replace
from tutorial.course.files import copy_project
from tutorial.course.steps import find_step
from tutorial.services.browser import chromium
from tutorial.services.ports import free_port
from tutorial.services.processes import alive, end_family, end_tree, family, marked, wait_until

# Tests that start things and never end by themselves.
TESTS = """
import asyncio, time

def test_a_server_and_a_worker(site, server):
    site.worker()
    time.sleep(3600)

async def test_a_browser(server, open_page):
    await open_page(server.url)
    await asyncio.sleep(3600)
"""
CELL = f"""
import pathlib, time
from tutorial.services.broker import Broker
from tutorial.testing.site import Site
broker = Broker().start()
site = Site(pathlib.Path({str(find_step("5"))!r}), broker.url)
site.server("daphne"), site.worker()
time.sleep(3600)
"""


def waiting_tests(project, which):
    (project / "tests" / "test_waiting.py").write_text(TESTS)
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_waiting.py", "-k", which]


def notebook(project):
    cell = {"cell_type": "code", "id": "1", "source": CELL, "metadata": {}, "outputs": []}
    cells = {"cells": [cell | {"execution_count": None}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (project / "waiting.ipynb").write_text(json.dumps(cells))
    return [sys.executable, "-m", "jupyter", "execute", "waiting.ipynb"]


def check(project):
    """Return the command that checks a project whose page never answers."""
    replace(project, "config/views.py", "    context = {", "    time.sleep(3600)\n    context = {")
    return [sys.executable, "-m", "tutorial", "check", "1", str(project), "-k", "server"]


def run(project):
    return [sys.executable, "-m", "tutorial", "run", "5", "--port", str(free_port())]


def preview(project):
    return [sys.executable, "-m", "tutorial", "preview", str(project), "--port", str(free_port())]


def run_with_our_broker(project):
    """Return the same with the broker of this test run."""
    return ["env", f"REDIS_URL={os.environ['REDIS_URL']}", *run(project)]


def words(processes):
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            lines += process.cmdline()
    return " ".join(lines)


@pytest.fixture
def killed(tmp_path):
    """Start a command, kill it when all these programs run, and wait until nothing of it runs any more."""
    mark = uuid.uuid4().hex
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    alone = {"DATABASE_PATH": str(tmp_path / "db.sqlite3"), "TUTORIAL_BROKER_PORT": str(free_port())}
    started = []

    def killed(command, cwd, names):
        with (tmp_path / "output").open("wb") as output:
            env = marked(inherited | alone, mark)
            popen = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT)
        started.append(popen)

        def all_run():
            said = (tmp_path / "output").read_text()
            assert popen.poll() is None, said
            found = {*family(mark), *psutil.Process(popen.pid).children(recursive=True)}
            text = words(found)
            return found if all(name in text for name in names) else None

        found = wait_until(all_run, 120, f"processes of {names}")
        os.kill(popen.pid, 9)
        popen.wait()
        wait_until(lambda: not any(map(alive, found)) and not family(mark), 30, "the end of what was started")

    yield killed
    for popen in started:
        end_tree(popen, mark=mark)
    end_family(mark)


CASES = {
    "pytest": ("5", lambda project: waiting_tests(project, "worker"), ("valkey", "runserver", "celery")),
    "pytest with a browser": ("5", lambda project: waiting_tests(project, "browser"), ("valkey", "--type=")),
    "tutorial check": ("1", check, ("valkey", "pytest", "runserver")),
    "tutorial run": ("5", run, ("valkey", "runserver", "celery")),
    "tutorial run with a broker that is there": ("5", run_with_our_broker, ("runserver", "celery")),
    "tutorial preview": ("2", preview, ("valkey", "services.preview")),
    "a notebook": ("5", notebook, ("valkey", "ipykernel", "daphne", "celery")),
}


@pytest.mark.parametrize(
    ("step", "make", "names"),
    [
        pytest.param(*case, id=name, marks=() if name == "tutorial run" else pytest.mark.long)
        for name, case in CASES.items()
    ],
)
def test_nothing_is_left_behind(killed, tmp_path, step, make, names):
    """A kill -9 leaves no broker, no server, no worker and no browser behind."""
    if "--type=" in names and not chromium():
        pytest.skip("no Chromium or Chrome on PATH")
    project = copy_project(find_step(step), tmp_path / "project")
    killed(make(project), project, names)
