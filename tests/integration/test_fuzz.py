"""Random requests from several connections: each has one answer, and every log stays whole."""

import asyncio
import logging
import os
import random
import time
from typing import Any

import pytest
from aiohttp import ClientSession

from stretto_core.protocol import NAMESPACES, REQUESTS
from stretto_server.app import NODE
from stretto_server.server import RealtimeServer
from stretto_server.verification import find_problems
from tests.integration.packets import Packets
from tests.server.conftest import Serve
from tests.server.wire import OWNER, VIEWER, client_id, token

SECONDS = float(os.environ.get("STRETTO_FUZZ_S", "3"))
SEED = int(os.environ.get("STRETTO_FUZZ_SEED", "1"))

IDS = ["a", "b/c", "a", "x" * 200, "..", "a//b", "b\n", "x" * 201, "é", ""]
TEXTS = ["", "x", "😀", "e\u0301", "\u0000", "\ud800", "\udfff\ud83d", "line\n", "ﷺ" * 50]
NUMBERS: list[Any] = [0, 1, 2, 3, 5, 10, -1, 1.0, 2.0, 1.5, 2**53 - 1, 2**53, -(2**53), True]
OFTEN = [
    ("/docs", ["open", *["submit"] * 9, "fetch", "cursor"]),
    ("/docs", ["open", *["submit"] * 9, "fetch", "cursor"]),
    ("/rooms", ["join", "join", "send", "set_state", "set_status", "set_metadata", "find"]),
]
VALUES: list[Any] = [None, [], {}, [[]], {"a": None}, False, b"\x00\xff", *TEXTS, *NUMBERS]


class Fuzzer:
    """One connection that sends what comes to its mind."""

    def __init__(self, packets: Packets, sub: str, seed: int) -> None:
        self.packets, self.sub = packets, sub
        self.random = random.Random(seed)
        self.clients = [client_id() for _ in range(3)]
        self.known: dict[str, dict[str, Any]] = {}
        self.sent = 0

    def some(self, choices: Any) -> Any:
        return self.random.choice(choices)

    def op(self) -> list[Any]:
        whole: list[Any] = [1, 1, 2, -1, "x", "añb", "😀", "\u0000", "e\u0301", 1.0, -2]
        parts = [self.some(whole) for _ in range(self.random.randrange(5))]
        if self.random.random() < 0.1:
            parts.append(self.some(VALUES[:-1]))
        return parts

    def payload(self, event: str) -> dict[str, Any]:
        """Return what is mostly right."""
        doc = self.some(IDS[:3])
        known = self.known.get(doc, {})
        head, epoch = known.get("version", 0), known.get("epoch", "none")
        client = known.get("client", self.some(self.clients))
        since = {"epoch": epoch, "version": head, "hash": known.get("hash", "0" * 16)}
        shapes: dict[str, dict[str, Any]] = {
            "refresh_token": {"token": token(self.sub, self.some([OWNER] * 9 + [VIEWER]))},
            "open": {"doc": doc, "client": self.some(self.clients)},
            "submit": {"doc": doc, "epoch": epoch, "client": client, "op": self.op()},
            "fetch": {"doc": doc, "epoch": epoch, "from": self.random.randrange(1, head + 3)},
            "close": {"doc": doc},
            "cursor": {"doc": doc, "version": head, "ranges": self.some([None, [[0, 9]], []])},
            "join": {"room": doc, "metadata": {"tags": ["t"]}, "status": self.some(VALUES[:4])},
            "leave": {"room": doc},
            "send": {"room": doc, "event": "e", "data": self.some(VALUES)},
            "set_state": {"room": doc, "changes": {"k": self.some(VALUES[:4])}},
            "set_status": {"room": doc, "status": self.some(VALUES[:4])},
            "set_metadata": {"room": doc, "metadata": {"private": self.some([True, False])}},
            "find": {"tags": ["t"], "limit": self.some([1, 50, 1000])},
        }
        found = shapes.get(event, {"doc": doc})
        if event == "submit":
            found |= {"seq": known.get("seq", 0) + self.some([1, 1, 1, 0, 2]), "base": head}
        if event == "open" and self.random.random() < 0.4:
            found |= self.some([{"since": since}, {"fence": self.some(self.clients)}])
        return found

    def mutated(self, payload: dict[str, Any]) -> list[Any]:
        """Return arguments, wrong in one way or another every eighth time."""
        change = self.random.randrange(32)
        if change == 0:
            payload[self.some([*payload, "more"])] = self.some(VALUES)
        elif change == 1:
            payload.pop(self.some(list(payload)), None)
        elif change == 2:
            payload["doc" if "doc" in payload else "room"] = self.some(IDS)
        elif change == 3:
            wrong: list[Any] = self.some([[], [payload, 1], [None], [[payload]], ["x"], [b"x"]])
            return wrong
        return [payload]

    async def step(self) -> None:
        namespace, often = self.some(OFTEN)
        event = self.some(often)
        if self.random.random() < 0.1:
            event = self.some([*REQUESTS[namespace], "connect", "disconnect", "x\ud800"])
        arguments = self.mutated(self.payload(event))
        self.sent += 1
        if self.random.random() < 0.1:
            await self.packets.send(namespace, event, *arguments, ack=False)
            return
        answer = await self.packets.send(namespace, event, *arguments)
        if self.random.random() < 0.5:
            self.learn(event, arguments, await asyncio.wait_for(answer, 10))

    def learn(self, event: str, arguments: list[Any], answer: dict[str, Any]) -> None:
        if event == "open" and answer["ok"]:
            self.known[answer["doc"]] = {
                "client": arguments[0]["client"],
                "epoch": answer["epoch"],
                "version": answer["version"],
                "hash": answer["hash"],
                "seq": answer["last_seq"],
            }
        elif event == "submit" and not answer["ok"]:
            if answer["error"]["code"] in ("epoch_changed", "sequence_gap", "not_joined"):
                self.known.clear()
        elif event == "submit":
            known = self.known.setdefault(arguments[0]["doc"], {"version": 0, "seq": 0})
            known["version"] = max(known["version"], answer["version"])
            known["seq"] = max(known["seq"], int(arguments[0]["seq"]))

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            await self.step()
        async with asyncio.timeout(10):
            while self.packets.unanswered() and not self.packets.closed.is_set():
                await asyncio.sleep(0.02)


async def disturb(server: RealtimeServer, until: float) -> None:
    """Delete and import documents meanwhile."""
    while time.monotonic() < until:
        await asyncio.sleep(0.3)
        await server.documents.replace("a", "new 😀")
        await asyncio.sleep(0.2)
        await server.documents.delete("b/c")


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_every_event_has_one_answer(
    serve: Serve, tmp_path: Any, caplog: pytest.LogCaptureFixture, journal: str
) -> None:
    url = "memory://" if journal == "memory" else f"sqlite:///{tmp_path / 'stretto.db'}"
    server = await serve(journal=url, rate_limits=False)
    caplog.set_level(logging.WARNING)
    until = time.monotonic() + SECONDS / 2
    async with ClientSession() as session:
        fuzzers = [
            Fuzzer(
                await Packets.connect(session, server, *NAMESPACES, sub=sub, grants=OWNER),
                sub,
                SEED * 100 + number,
            )
            for number, sub in enumerate(["ann", "ann", "bob", "eve"])
        ]
        await asyncio.gather(disturb(server, until), *(one.run(until) for one in fuzzers))
        for one in fuzzers:
            check(one)
            await one.packets.close()
    said = [record.getMessage() for record in caplog.records]
    assert [one for one in said if "loaded anew" not in one and "another history" not in one] == []
    journal_of = server._app[NODE].journal
    for doc in ("a", "b/c"):
        loaded = await journal_of.load(doc)
        assert loaded is None or await find_problems(journal_of, doc, loaded) == []


def check(one: Fuzzer) -> None:
    packets = one.packets
    assert not packets.closed.is_set()
    assert packets.disconnected == []
    assert packets.unanswered() == []
    assert set(packets.acks.values()) == {1}
    assert packets.problems == []
    codes = [row[3]["error"]["code"] for row in packets.log if row[1] == "ack" and not row[3]["ok"]]
    codes += [refused["error"]["code"] for refused in packets.events("refused")]
    assert "internal_error" not in codes
    assert one.sent > 20
