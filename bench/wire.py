"""A lean client of ``/docs``: Engine.IO and Socket.IO packets by hand on a WebSocket.

A real client would cost more than the server that it is meant to load. This one keeps no
text: everybody inserts one character at a time, so a version tells the length. It obeys the
contract's order all the same: one operation in flight, the next when the own entry and the
acknowledgement are both there, frames without a gap.
"""

import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson

OPS = '42/docs,["ops",'
EVENT = "42/docs,"
ACK = "43/docs,"
PING, PONG = "2", "3"


class WireError(Exception):
    """The server did not do what the contract says."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client needs to know of an ``ops`` event."""

    first: int
    last: int
    own: dict[str, int]
    """The last seq of each client whose entries are in it."""


class FrameReader:
    """Parses frames; members get identical ones, which are parsed once."""

    def __init__(self) -> None:
        self._text = ""
        self._frame = Frame(0, 0, {})

    def read(self, text: str) -> Frame:
        """Return the frame of an ``ops`` packet."""
        if text != self._text:
            payload = orjson.loads(text[len(EVENT) :])[1]
            first, ops = payload["from"], payload["ops"]
            own = {entry["client"]: entry["seq"] for entry in ops}
            self._text, self._frame = text, Frame(first, first + len(ops) - 1, own)
        return self._frame


@dataclass(slots=True)
class Tally:
    """What all clients saw; latencies and frames only while ``counting``."""

    counting: bool = False
    stopping: bool = False
    frames: int = 0
    latencies: "list[float]" = field(default_factory=list)
    reader: FrameReader = field(default_factory=FrameReader)


class WireClient:
    """One connection with one document open."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, doc: str, client: str, tally: Tally
    ) -> None:
        self._socket = socket
        self._doc = doc
        self._client = client
        self._tally = tally
        self._dice = random.Random(client)
        self._packets = 0
        self._early: deque[str] = deque()
        self._epoch = ""
        self._seq = 0
        self._sent_at = 0.0
        self._awaits_ack = self._awaits_entry = False
        self.version = 0
        self.length = 0
        """How many characters the document has at :attr:`version`."""
        self.accepted = 0

    @classmethod
    async def connect(
        cls,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        doc: str,
        client: str,
        tally: Tally,
    ) -> Self:
        """Connect, join ``/docs`` and open the document."""
        socket = await session.ws_connect(
            f"{url}/socket.io/?EIO=4&transport=websocket", compress=0, max_msg_size=0
        )
        self = cls(socket, doc, client, tally)
        await self._expect("0{")
        await self._write(f"40/docs,{_json({'token': token})}")
        await self._expect("40/docs,")
        answer = await self.call("open", {"doc": doc, "client": client})
        self._epoch = answer["epoch"]
        self.version, self.length = answer["version"], len(answer["content"])
        return self

    async def call(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send an event and return its answer; events that come first are kept for later.

        Raises WireError when it was refused.
        """
        number = await self._send(event, payload)
        head = f"{ACK}{number}["
        while not (text := await self._read()).startswith(head):
            self._early.append(text)
        return _answer(text)

    async def fetch(self, first: int) -> tuple[int, int]:
        """Return how many entries one page from ``first`` on has, and the head's version."""
        page = await self.call("fetch", {"doc": self._doc, "epoch": self._epoch, "from": first})
        return len(page["ops"]), page["version"]

    async def write(self, text: str) -> None:
        """Insert text at the start, alone, and wait for it."""
        await self._submit([text])
        await self._until_settled()
        self.length += len(text) - 1  # counted as one character when the frame came

    async def edit(self) -> None:
        """Insert one character after another until the tally says stop."""
        while not self._tally.stopping:
            place = self._dice.randrange(self.length)
            await self._submit([place, "x"] if place else ["x"])
            await self._until_settled()

    async def _submit(self, op: list[Any]) -> None:
        self._awaits_ack = self._awaits_entry = True
        self._sent_at = time.perf_counter()
        await self._send(
            "submit",
            {
                "doc": self._doc,
                "epoch": self._epoch,
                "client": self._client,
                "seq": self._seq + 1,
                "base": self.version,
                "op": op,
            },
        )

    async def _until_settled(self) -> None:
        while self._awaits_ack or self._awaits_entry:
            await self._take(self._early.popleft() if self._early else await self._read())
        self._seq += 1

    async def _take(self, text: str) -> None:
        if text.startswith(OPS):
            self._follow(self._tally.reader.read(text))
        elif text.startswith(ACK):
            self._acknowledged(text)
        elif not text.startswith('42/docs,["presence",'):
            raise WireError(f"unexpected packet {text[:200]}")

    def _follow(self, frame: Frame) -> None:
        if frame.last <= self.version:
            return
        if frame.first != self.version + 1:
            raise WireError(f"a gap: {frame.first} after {self.version}")
        self.length += frame.last - self.version
        self.version = frame.last
        if self._tally.counting:
            self._tally.frames += 1
        if frame.own.get(self._client) == self._seq + 1:
            self._awaits_entry = False

    def _acknowledged(self, text: str) -> None:
        elapsed = time.perf_counter() - self._sent_at
        _answer(text)
        self._awaits_ack = False
        self.accepted += 1
        if self._tally.counting:
            self._tally.latencies.append(elapsed)

    async def _send(self, event: str, payload: dict[str, Any]) -> int:
        self._packets += 1
        await self._write(f"{EVENT}{self._packets}{_json([event, payload])}")
        return self._packets

    async def _write(self, text: str) -> None:
        await self._socket.send_str(text)

    async def _read(self) -> str:
        """Return the next packet; pings are answered."""
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise WireError(f"the connection ended: {message.type.name}")
            text: str = message.data
            if text != PING:
                return text
            await self._write(PONG)

    async def _expect(self, head: str) -> None:
        text = await self._read()
        if not text.startswith(head):
            raise WireError(f"expected {head}, not {text[:200]}")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _answer(text: str) -> dict[str, Any]:
    """Return the ack object of an acknowledgement; raise WireError for a refusal."""
    answer: dict[str, Any] = orjson.loads(text[text.index("[") :])[0]
    if not answer["ok"]:
        raise WireError(str(answer["error"]))
    return answer
