"""The board's two consumers: one for a learner's terminal, one for a page."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

from tutorial.board.room import Refused, Room
from tutorial.learn.sign import NotASign, Sign

PAGES, LEARNERS = "pages", "learners"
PAUSE = 0.2  # seconds between two pictures of the room: a hundred changes at once are one picture
QUIET = 15  # seconds until the next picture if nothing changes
TO_BEGIN = 10  # seconds that a connection has to say who it is
ALLOWANCE, REFILL = 20, 2  # messages at once, and per second after that
SPOILT = 4008  # the code a socket is closed with if it misbehaves

logger = logging.getLogger(__name__)
room = Room()  # the only one, in this process; `tutorial board` sets its own


class Changes:
    """Tells the pages that the room has changed, at most every `PAUSE` seconds."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Take note of a change."""
        self._event.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            # Even without news, because people get stuck by doing nothing.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), QUIET)
            self._event.clear()
            try:
                await get_channel_layer().group_send(PAGES, {"type": "room_changed"})
            except Exception as error:  # a broker that is being started again
                logger.warning("The pages heard nothing: %s", error)
                self._event.set()
            await asyncio.sleep(PAUSE)


changes = Changes()


def decoded(text: str | None) -> dict[str, Any]:
    """Return the message that a frame is.

    Raises:
        Refused: It is none.
    """
    with suppress(ValueError, RecursionError):
        if isinstance(data := json.loads(text or ""), dict):
            return data
    raise Refused("That is no message.")


class BoardConsumer(AsyncWebsocketConsumer):
    """What both have in common: a limit on messages, and that they must say who they are."""

    group = ""

    async def connect(self) -> None:
        """Called when a socket opens."""
        self.address = (self.scope.get("client") or ["?"])[0]
        self.known = False
        self._left, self._when = float(ALLOWANCE), time.monotonic()
        if not self.may_open():
            await self.close()
            return
        await self.accept()
        self._begin = asyncio.get_running_loop().call_later(TO_BEGIN, self._nobody)

    def may_open(self) -> bool:
        """Tell whether the socket may be opened from where it is."""
        raise NotImplementedError

    def _nobody(self) -> None:
        self._ending = asyncio.ensure_future(self.spoilt("You said nothing."))

    async def begin(self) -> None:
        """Let the socket take part in its group, from now on."""
        if not self.known:
            self.known = True
            self._begin.cancel()
            await self.channel_layer.group_add(self.group, self.channel_name)

    async def disconnect(self, close_code: int) -> None:
        """Called when the socket is closed, by either side."""
        if hasattr(self, "_begin"):
            self._begin.cancel()
        if self.known:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Called for every frame."""
        now = time.monotonic()
        self._left = min(ALLOWANCE, self._left + (now - self._when) * REFILL) - 1
        self._when = now
        try:
            if self._left < 0:
                raise Refused("Too many messages.")
            await self.message(decoded(text_data))
        except (Refused, NotASign) as error:
            await self.spoilt(str(error))

    async def message(self, data: dict[str, Any]) -> None:
        """Called for every message.

        Raises:
            Refused: It is not for here.
            NotASign: It is no sign of life.
        """
        raise NotImplementedError

    async def spoilt(self, why: str) -> None:
        """Say what is wrong and close the socket."""
        await self.tell(type="error", text=why)
        with suppress(OSError, RuntimeError):
            await self.close(SPOILT)

    async def tell(self, **data: Any) -> None:
        """Send a message, unless the other side is gone."""
        with suppress(OSError, RuntimeError):
            await self.send(text_data=json.dumps(data, ensure_ascii=False))


class LearnerConsumer(BoardConsumer):
    """A learner's terminal: it joins, then sends signs of life."""

    group = LEARNERS
    token = ""

    def may_open(self) -> bool:
        """Only browsers send an Origin, and no page has any business here."""
        return not any(name == b"origin" for name, _ in self.scope["headers"])

    async def message(self, data: dict[str, Any]) -> None:
        """Called for every message: `join` first, then `sign` and `leave`."""
        kind = data.pop("type", None)
        if kind == "join" and not self.known:
            self.token = room.let_in(data, self.address)
            room.connected(self.token, 1)
            await self.begin()
            await self.tell(type="joined")
            if room.said:
                await self.tell(type="line", text=room.said)
        elif self.known and kind == "sign" and self.token in room.people:
            room.take(self.token, Sign.read(data))
            await self.tell(type="seen")
        elif self.known and kind == "leave":
            room.leave(self.token)
            await self.tell(type="seen")
        else:
            raise Refused("A learner joins, then sends signs.")
        changes.note()

    async def disconnect(self, close_code: int) -> None:
        """Called when the socket is closed, by either side."""
        room.connected(self.token, -1)
        changes.note()
        await super().disconnect(close_code)

    async def learner_line(self, event: dict[str, Any]) -> None:
        """Called when the instructor has a line for everybody."""
        await self.tell(type="line", text=event["text"])


class PageConsumer(BoardConsumer):
    """A page: it shows the key, and from then on the room. It may speak to everybody."""

    group = PAGES
    nameless = True

    def may_open(self) -> bool:
        """Only a page of this very board may: same scheme, host and port."""
        headers = dict(self.scope["headers"])
        host, origin = headers.get(b"host", b""), headers.get(b"origin", b"")
        return origin in (b"http://" + host, b"https://" + host)

    async def message(self, data: dict[str, Any]) -> None:
        """Called for every message: `look` first, then `say` and `open`."""
        text = str(data.get("text", ""))
        match data.get("type"):
            case "look" if not self.known:
                wrong = "That is not this board's key. Open the address that the terminal shows."
                room.must_know(room.key, str(data.get("key")), self.address, wrong)
                self.nameless = data.get("nameless") is not False
                await self.begin()
                await self.room_changed({})
            case "say" if self.known:
                await self._to_learners(room.say(text))
            case "open" if self.known:
                await self._to_learners(room.call_open(text))
            case _:
                raise Refused("A page shows its key, then speaks.")

    async def _to_learners(self, text: str) -> None:
        if text:
            await self.channel_layer.group_send(LEARNERS, {"type": "learner_line", "text": text})
        changes.note()

    async def room_changed(self, event: dict[str, Any]) -> None:
        """Called when there is something new to see."""
        await self.tell(**room.view(self.nameless))


class Nowhere(AsyncWebsocketConsumer):
    """Any other path."""

    async def connect(self) -> None:
        """Called for a path that no other route takes: refuse it."""
        await self.close()
