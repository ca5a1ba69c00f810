"""A room full of people on one board: every change is shown, and nobody notices when the board is killed."""

import asyncio
import contextlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import time

import psutil
import pytest
from websockets.asyncio.client import connect

from tests.cli.classroom import CODE, KEY, Board, full_room, requirements, sign, tell
from tests.cli.test_run import alone
from tests.mistakes.mistakes import MISTAKES, change
from tutorial.course.assignment import step_assignment
from tutorial.learn import playground
from tutorial.learn.classroom import Joined
from tutorial.learn.playground import State

pytestmark = pytest.mark.long

PEOPLE, CHANGES = 100, 300
PER_SECOND = 15  # changes: more than a hundred people make who save now and then
# In a full run 30: PLAYGROUNDS=30 tutorial test tests/promises/board
PLAYGROUNDS = int(os.environ.get("PLAYGROUNDS", "8"))
AT_ONCE = 4  # checks that run side by side
STEP = step_assignment("2")
ONLY = "reaches_everyone or another_room or bad_frame"
# Each playground makes one of them, then mends it.
WRONG = [
    each
    for each in MISTAKES.values()
    if each.step == 2 and each.test in ("", "reaches_everyone", "another_room", "bad_frame")
]


async def test_a_hundred_people_are_shown_within_a_moment():
    """Every change of a hundred learners gets to the page; how soon, and at what cost, is printed."""
    names = [f"learner {number}" for number in range(PEOPLE)]
    last = len(requirements(STEP.name))
    with Board() as board:
        process = psutil.Process(board.pid)
        async with full_room(board, {name: sign(STEP.name) for name in names}) as sockets:
            sent, waits = {}, []

            async def look():
                async with connect(f"ws{board.url[4:]}/page", origin=board.url, proxy=None) as page:
                    await page.send(json.dumps({"type": "look", "key": KEY, "nameless": False}))
                    async for message in page:
                        now = time.monotonic()
                        for person in json.loads(message)["people"]:
                            what = person["nickname"], person["met"], person["hints"]
                            if what in sent:
                                waits.append(now - sent.pop(what))

            looking = asyncio.create_task(look())
            began, before = time.monotonic(), process.cpu_times()
            for count in range(1, CHANGES + 1):
                name = random.choice(names)  # noqa: S311 - no secret
                its = sign(STEP.name, random.randrange(last), hints=count)  # noqa: S311
                # An earlier change of the same person is overtaken: the page shows the latest state.
                sent = {what: when for what, when in sent.items() if what[0] != name}
                sent[name, its.met, its.hints] = time.monotonic()
                assert await tell(sockets[name], its) == {"type": "seen"}
                await asyncio.sleep(1 / PER_SECOND)
            while sent:
                assert not looking.done(), looking.exception()
                await asyncio.sleep(0.05)
            took, after = time.monotonic() - began, process.cpu_times()
            looking.cancel()
        used = after.user + after.system - before.user - before.system
        print(
            f"\n{PEOPLE} people, {len(waits)} changes shown in {took:.0f} s: median "
            f"{statistics.median(waits) * 1000:.0f} ms, worst {max(waits) * 1000:.0f} ms; the board took "
            f"{used / took:.0%} of a core and {process.memory_info().rss / 2**20:.0f} MiB"
        )
        assert len(waits) > CHANGES / 2


class Learner:
    """A learner who types at step 2, with a playground and a place of their own to keep what was joined."""

    def __init__(self, number, directory):
        self.name, self.project = f"learner {number}", directory / f"playground{number}"
        self.env = alone({"TUTORIAL_CLASSROOM": str(directory / f"joined{number}.json")})
        self.mistake = WRONG[number % len(WRONG)]
        playground.start(STEP, self.project)

    def run(self, *words):
        """Run the command in a process of its own."""
        command = [sys.executable, "-m", "tutorial", *words]
        return subprocess.run(
            command, cwd=self.project, env=self.env, capture_output=True, text=True, timeout=900
        )

    def type(self, what):
        """Type the lesson's files: finished, or with the mistake."""
        for name, content in STEP.solution.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_bytes(content)
        if what == "mistake":
            change(self.project, self.mistake.changes)

    def expected(self):
        """Return what the playground itself remembers: how much is met, and what is in work."""
        state, names = State.read(self.project), requirements(STEP.name)
        met = [name for name in names if name in state.done.get(STEP.name, [])]
        left = [name for name in names if name not in met]
        at = state.stuck if state.stuck in left else next(iter(left), "")
        return len(met), next((each.text for each in STEP.requirements if each.name == at), "")


async def test_playgrounds_are_shown_right_and_a_killed_board_harms_nobody(tmp_path):
    """People type listings and mistakes; the board shows what each playground knows."""
    learners = [Learner(number, tmp_path) for number in range(PLAYGROUNDS)]
    lanes = asyncio.Semaphore(AT_ONCE)
    with Board() as board:
        for learner in learners:
            joined = Joined(board.url, CODE, learner.name, secrets.token_hex(16))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TUTORIAL_CLASSROOM", learner.env["TUTORIAL_CLASSROOM"])
                joined.write()

        async def check(learner, stage):
            async with lanes:
                await asyncio.to_thread(learner.type, stage) if stage != "begin" else None
                done = await asyncio.to_thread(learner.run, "check", "-k", ONLY)
            good = "What you chose of step 2 (consumer) is done" in done.stdout
            assert (done.returncode, good) == ((0, True) if stage == "finished" else (1, False)), done
            assert "Traceback" not in done.stdout + done.stderr
            return done

        async def shown_right(learner):
            met, at = learner.expected()

            def right(room):
                tiles = [each for each in room["people"] if each["nickname"] == learner.name]
                return [(each["met"], each["of"], each["at"]) for each in tiles] == [(met, 11, at)]

            await board.room(right)

        async def stage(name, seen=True):
            random.shuffle(learners)

            async def one(learner):
                await check(learner, name)
                if seen:
                    await shown_right(learner)

            await asyncio.gather(*map(one, learners))

        await stage("begin")
        half = asyncio.create_task(stage("mistake", seen=False))
        with contextlib.suppress(TimeoutError):  # in mid-run: some have checked, some have not
            async with asyncio.timeout(5):
                await asyncio.shield(half)
        board.kill()
        await half
        await asyncio.to_thread(board.start)
        await stage("finished")
        stuck = {each["at"] for each in (await board.room())["people"]}
        assert len((await board.room())["people"]) == PLAYGROUNDS
        assert stuck
