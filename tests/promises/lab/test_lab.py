"""The load lab measures what it says, names what it can't measure, and the docs show its results."""

import dataclasses
import getpass
import json
import random
import resource
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from websockets.asyncio.server import serve

from benchmarks import load, measure, notices, peers, report
from benchmarks.peers import AS_IS, FASTER_LAYER, NODE_IO, NODE_WS, PEERS
from benchmarks.peers import missing as missing_here
from tutorial.course.steps import ROOT
from tutorial.services.ports import free_port, port_problem
from tutorial.services.processes import NotStarted

TABLES = ("markdown", "gains", "sockets", "queue", "million")
PICTURES = ("costs", "choice", "clients", "rooms", "sizes")
KEPT = (ROOT / "benchmarks" / "results.json").read_text()
FILES = 300  # open files: enough for the smallest room of a quick run, too few for the next
LIMITS = [peer for peer in PEERS if "limit" in peer.name and "uvloop" not in peer.command]
OUTSIDE = [peer for peer in PEERS if peer.name in (NODE_WS, NODE_IO)]
# What a quick run measures here: Node's servers only where `make bench-outside` got them.
HERE = [peer for peer in PEERS if peer.swept and not missing_here(peer, free_port())]
GRANIAN = next(peer for peer in PEERS if "granian" in peer.command)
PLAN = measure.Plan(rounds=2, seconds=0.02, clients=3, client_counts=(3,))


def benchmarks(files, *words):
    """Run the command with this many open files allowed, and return the result."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *words],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        capture_output=True,
        text=True,
        timeout=900,  # only a hang takes this long
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run with too few open files, while another program has the port of one server."""
    output = tmp_path_factory.mktemp("results")
    place = [peer.name for peer in PEERS].index(FASTER_LAYER)
    # Free ports in a row, below those that systems hand out by themselves.
    first = next(
        first
        for first in random.sample(range(20000, 32000), 100)
        if not any(port_problem("127.0.0.1", first + number) for number in range(len(PEERS)))
    )
    with socket.create_server(("127.0.0.1", first + place)):
        done = benchmarks(FILES, "--output", output, "--first-port", str(first))
    done.output, done.gap = output, f"port {first + place}: another program listens there"
    return done


@pytest.fixture
def few_peers(monkeypatch):
    """Leave only servers that start in a moment: a granian, whose package is missing, and the two limits."""
    monkeypatch.setattr(measure, "PEERS", [GRANIAN, *LIMITS])
    monkeypatch.setitem(sys.modules, "granian", None)


def test_a_quick_run_measures_everything_that_it_can(quick):
    """A quick run measures servers, clients, rooms, sizes and the queue, and loses no message."""
    assert (quick.returncode, quick.stderr) == (0, ""), quick.stdout
    results = json.loads((quick.output / "results.json").read_text())
    servers = [{"server": name, **row} for name, row in results["servers"].items()]
    for rows in (servers, results["clients"], results["rooms"], results["sizes"]):
        assert {row["server"] for row in rows} == {peer.name for peer in HERE} - {FASTER_LAYER}
        assert all((row["rounds"], row["lost"]) == (2, 0) and row["deliveries"] for row in rows)
    assert "has refused" not in quick.stdout
    assert {row["server"] for row in results["idle"]} == {peer.name for peer in HERE} - {FASTER_LAYER, AS_IS}
    assert all((row["held"], row["refused"]) == (30, 0) and row["memory"] for row in results["idle"])
    assert results["queue"]["posts"] == 4
    assert results["machine"]["cores"] >= 1


def test_what_cannot_be_measured_is_said_before_the_run(quick):
    """Too few open files and a taken port get a line each, before the first measurement."""
    before, _, after = quick.stdout.partition("servers: measured in")
    assert f"Left out: {FASTER_LAYER} ({quick.gap})." in before.splitlines()
    assert (
        f"Open files: {FILES} are allowed here, and {200 + 30 * (len(HERE) - 1)} are needed (ulimit -n). "
        "The sweep of clients stops at 10 clients."
    ) in before.splitlines()
    assert "Left out" not in after


def test_the_gap_stands_in_every_table(quick):
    """A server that was left out keeps its row, with the reason, and the tables of the docs have it too."""
    assert "not measured:" in quick.stdout
    assert f"| {FASTER_LAYER} | not measured: {quick.gap} |" in (quick.output / "markdown.txt").read_text()
    assert "| and the pub/sub layer | not measured | – | – |" in (quick.output / "gains.txt").read_text()
    for name in PICTURES:
        ElementTree.parse(quick.output / f"load-{name}.svg")  # noqa: S314 - our own


def test_a_server_whose_package_is_missing_is_left_out(few_peers):
    """Without granian one line says so, and the others are measured, even if one of them dies."""
    said = []
    with measure.Lab(PLAN, said.append) as lab:
        assert said == [f"Left out: {GRANIAN.name} (granian is not installed)."]
        assert set(measure.compare(lab)) == {peer.name for peer in LIMITS}
        first, second = lab.running.values()
        first.kill()
        assert set(measure.compare(lab)) == {second.peer.name}
    assert lab.gaps[first.peer.name] == "it ended during the run"
    assert not second.running


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ([], "Node is not installed"),
        (["node"], "its packages are not installed; make bench-outside gets them"),
    ],
)
def test_without_node_its_servers_are_left_out(monkeypatch, tmp_path, there, reason):
    """Without Node, or without its packages, a line says so, and the others are measured."""
    monkeypatch.setattr(measure, "PEERS", [*OUTSIDE, *LIMITS[:1]])
    monkeypatch.setattr(peers, "OUTSIDE", tmp_path)
    monkeypatch.setattr(peers.shutil, "which", lambda name: name if name in there else None)
    said = []
    with measure.Lab(PLAN, said.append) as lab:
        assert said == [f"Left out: {peer.name} ({reason})." for peer in OUTSIDE]
        assert set(measure.compare(lab)) == {LIMITS[0].name}


@pytest.mark.skipif(len(HERE) < 7, reason="there is no Node, or make bench-outside has not been run")
def test_every_socket_hears_what_a_server_of_node_says(monkeypatch):
    """Node's servers deliver each message to each socket in the room, and to no other room."""
    monkeypatch.setattr(measure, "PEERS", OUTSIDE)
    with measure.Lab(PLAN, [].append) as lab:
        lab.open(list(lab.running.values()), 6, rooms=2)
        for running in lab.running.values():
            answer = lab.burst(running, rate=100, seconds=0.1)
            assert (answer["deliveries"], answer["lost"], answer["strays"]) == (30, 0, 0)


def test_far_too_few_open_files_stop_the_run_at_once():
    """If not even the smallest room fits, one line says which limit to raise, and nothing is started."""
    done = benchmarks(100)
    assert (done.returncode, done.stderr) == (1, "")
    line = done.stdout.splitlines()[-1]
    count = len(HERE)
    assert line.startswith(f"Open files: 100 are allowed here, and at least {200 + 10 * count} are needed.")
    assert f"ulimit -n {200 + 30 * count}" in line


def test_a_load_generator_that_ends_is_said():
    """When the load generator is killed, the next order says so instead of waiting."""
    with load.Load() as generator:
        generator._process.kill()
        generator._process.wait()
        with pytest.raises(load.LoadFailed, match="has ended"):
            generator.order("x", "open", url="", headers={}, count=1, rooms=1)


def test_servers_on_one_broker_do_not_hear_each_other(monkeypatch):
    """A message to one server is no work for the others, or it would be measured with theirs."""
    limit = next(peer for peer in LIMITS if "{broker}" in peer.command)
    monkeypatch.setattr(measure, "PEERS", [limit, dataclasses.replace(limit, name="the same again")])
    with measure.Lab(PLAN, [].append) as lab:
        results = measure.compare(lab)
    assert len(results) == 2
    assert all(row["deliveries"] > 0 and row["strays"] == 0 for row in results.values())


def test_a_server_that_does_not_start_is_left_out(few_peers, monkeypatch):
    """A server that ends at once is named with the last line it printed."""

    def fail(running, timeout=60):
        raise NotStarted("python -m x ended:\nTraceback …\nImportError: no such thing")

    said = []
    monkeypatch.setattr(measure.Running, "wait_until_ready", fail)
    with measure.Lab(PLAN, said.append) as lab:
        assert not lab.running
    assert [line.partition("(")[2] for line in said[1:]] == ["ImportError: no such thing)."] * 2


@pytest.mark.parametrize("closes", [False, True])
async def test_what_a_server_loses_is_counted(monkeypatch, closes):
    """A delivery that never comes counts as lost, at once if the server closes its sockets."""
    # While it stays silent, a busy machine may be too slow for those that do come.
    monkeypatch.setattr(load, "PATIENCE", 3600 if closes else 0.5)

    async def forgetful(connection):
        for number in range(5):
            frame = await connection.recv()
            if number % 2 == 0:
                await connection.send(frame)
        if not closes:
            await connection.wait_closed()

    async with serve(forgetful, "127.0.0.1", 0) as server:
        crowd = load.Crowd()
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ROOM"
        assert (await crowd.open(url, {}, 2, 2))["open"] == 2
        answer = await crowd.send(seconds=0.1, size=10, rate=100)
        await crowd.close()
    assert answer["messages"] == 10
    assert answer["deliveries"] + answer["lost"] == 10
    assert answer["lost"] == 4 or (answer["lost"] > 4 and not closes)


async def test_a_refused_socket_is_counted():
    """If nothing listens, every socket counts as refused."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answer = await load.Crowd().open(f"ws://127.0.0.1:{port}/ROOM", {}, 3, 1)
    assert (answer["open"], answer["refused"]) == (0, 3)


def test_a_load_generator_at_its_limit_says_so():
    """When the load generator uses its whole core, the table marks the rate as its own."""
    numbers = dict.fromkeys(("rate", "server_time", "broker_time", "server_share", "p50", "p99"), 1.0)
    sample = numbers | {"deliveries": 1, "lost": 0, "strays": 0, "load_share": 0.97}
    results = json.loads(KEPT) | {"order": ["x"], "servers": {"x": measure.summary([sample])}}
    assert report.rows(results)[0][2] == "1*"
    assert "The load generator was the bottleneck" in report.markdown(results)


def test_the_docs_show_the_kept_results():
    """The tables and plots of the docs match benchmarks/results.json; `--again` rewrites them."""
    page = (ROOT / "docs" / "load.md").read_text()
    for name in TABLES:
        kept = (ROOT / "docs" / "load" / f"{name}.txt").read_text()
        assert kept == getattr(report, name)(json.loads(KEPT)), f"{name}: python -m benchmarks --again"
        assert f"```{{include}} load/{name}.txt\n```" in page
    for name in PICTURES:
        assert (ROOT / "docs/load" / f"load-{name}.txt").read_text() == report.pictures(json.loads(KEPT))[
            name
        ]
        assert all((ROOT / "docs/load" / f"load-{name}{ending}.svg").exists() for ending in ("", "-dark"))
        assert f"```{{include}} load/load-{name}.txt\n```" in page


def test_notices_are_measured_both_ways(tmp_path):
    """A quick run of benchmarks.notices opens pages on both servers, and every page gets every notice."""
    command = [sys.executable, "-m", "benchmarks.notices", "--quick", "--output", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == (tmp_path / "notices.txt").read_text()
    ways = json.loads((tmp_path / "notices.json").read_text())["ways"]
    assert all(len(ways[name]["notice"]) == 1 for name in notices.WAYS)


def test_the_page_shows_what_notices_cost():
    """The table of docs/concepts/which-one.md matches docs/load/notices.json."""
    kept = ROOT / "docs/load"
    table = notices.table(json.loads((kept / "notices.json").read_text()))
    assert (kept / "notices.txt").read_text() == table
    assert "```{include} ../load/notices.txt\n```" in (ROOT / "docs/concepts/which-one.md").read_text()


def test_the_kept_results_are_whole():
    """Every server is in the kept results or has a reason, and no name of a machine is in them."""
    results = json.loads(KEPT)
    assert results["order"] == [peer.name for peer in PEERS]
    assert set(results["servers"]) | set(results["gaps"]) == {peer.name for peer in PEERS}
    assert all(row["rounds"] >= 5 for row in results["servers"].values())
    assert set(results["machine"]) == {"cores", "system", "python", "packages", "date", "node"}
    assert socket.gethostname() not in KEPT
    assert getpass.getuser() not in KEPT or getpass.getuser() in ("alice", "bob")
    assert "/" not in results["machine"]["python"]
