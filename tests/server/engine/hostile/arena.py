"""A victim, a bystander that must not suffer, and the search for what an attack left behind."""

import asyncio
import json
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.conformance.host import SOCKET_PATH, Host
from tests.server.engine.conformance.peer import WebSocketPeer
from tests.server.engine.conformance.websocket import WebSocket

ROOT: Final = Path(__file__).parents[4]
ANSWERED_S: Final = 4.0
"""How long the bystander may wait; it is served within milliseconds where nothing is wrong."""
CLEAN_S: Final = 15.0
"""How long anything may be left: several times what the longest timeout is."""
CHECK_S: Final = 0.03
SUMMARY: Final = "stretto_server.engine:closed connections for what they sent: "
"""The one line that may be logged, at most once a minute."""

Attack = Callable[["Arena"], Awaitable[None]]


class Victim:
    """The process of :mod:`tests.server.engine.hostile.victim`."""

    question = '27["echo","here"]'
    answer = '37["here"]'
    reserved = True
    """Whether clients may not use the names of the library's own events."""

    def __init__(self, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.engine.hostile.victim", *flags],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port: int = self._line(30.0)["port"]
        self.pristine = self.ask("report")
        """What the server has while nobody is there."""

    def hello(self) -> str:
        """Return the packet that joins the default namespace."""
        return "40"

    def ask(self, word: str) -> dict[str, Any]:
        """Return the answer to a word."""
        self._say(word)
        return self._line(10.0)

    def stop(self) -> list[str]:
        """End it; return everything that it said in its life, on its way out as well."""
        history = self.ask("stop")
        _, errors = self._process.communicate(timeout=10)
        return [*history["log"], *errors.splitlines()]

    def kill(self) -> None:
        """End it whatever it does; twice is fine."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _line(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise AssertionError("the server answers nobody")
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate()[1])
        answer: dict[str, Any] = json.loads(line)
        return answer


class Remote(Host):
    """The victim, as clients see it."""

    def __init__(self, victim: Victim) -> None:
        super().__init__(None, SOCKET_PATH)
        self.port = victim.port
        self.hello = victim.hello

    async def join(self) -> WebSocketPeer:
        """Return a client that is in the default namespace."""
        peer = await WebSocketPeer.open(self)
        await peer.send(self.hello()[1:])
        while not str(await peer.receive()).startswith("0{"):
            pass
        return peer


class Bystander:
    """Asks the server something again and again, in a thread of its own: attackers are busy."""

    def __init__(self, victim: Victim) -> None:
        self.longest_wait = 0.0
        self._victim = victim
        self._joined = threading.Event()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    async def __aenter__(self) -> Self:
        self._thread.start()
        await asyncio.to_thread(self._joined.wait)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        await asyncio.to_thread(self._thread.join)
        if self._failure is not None:
            raise AssertionError("the bystander was not answered") from self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._ask_on())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._joined.set()

    async def _ask_on(self) -> None:
        peer = await Remote(self._victim).join()
        self._joined.set()
        last = False
        while not last:
            last = self._over.is_set()
            began = time.monotonic()
            await peer.send(self._victim.question)
            async with asyncio.timeout(ANSWERED_S):
                while self._victim.answer not in str(await peer.receive()):
                    pass  # what others are told
            self.longest_wait = max(self.longest_wait, time.monotonic() - began)
            await asyncio.sleep(CHECK_S)
        peer.websocket.abort()
        await peer.websocket.ended()


class Arena:
    """What attacks get: the server's address, and how to look at it.

    ``scale`` multiplies how many attackers there are. Memory says something about an attack
    only when it is ``alone``.
    """

    def __init__(self, victim: Victim, scale: float = 1.0, *, alone: bool = True) -> None:
        self.victim = victim
        self.host = Remote(victim)
        self.scale = scale
        self.alone = alone
        self.expected: Counter[str] = Counter()
        """Violations that attacks know they make."""
        self._asking = asyncio.Lock()

    def many(self, count: int) -> int:
        """Return how many there are to be, where the smallest arena has ``count``."""
        return max(1, round(count * self.scale))

    async def report(self) -> dict[str, Any]:
        """Return what the server has now."""
        return await self._ask("report")

    async def history(self) -> dict[str, Any]:
        """Return what the server counted and said in its life."""
        return await self._ask("history")

    async def begin_peak(self) -> int:
        """Return the memory of now, from which :meth:`grown` counts."""
        return int((await self._ask("peak"))["rss"])

    async def grown(self, before: int) -> int:
        """Return the most memory since, less than what it was before."""
        return int((await self._ask("peak"))["peak"]) - before if self.alone else 0

    def leave(self) -> None:
        """Break every connection that is still there."""
        for client in self.host.clients:
            if isinstance(client, Exchange | WebSocket):
                client.abort()

    async def _ask(self, word: str) -> dict[str, Any]:
        # Attacks ask at the same time; the victim answers one after the other.
        async with self._asking:
            return await asyncio.to_thread(self.victim.ask, word)


async def withstand(victim: Victim, *attacks: Attack, scale: float = 1.0) -> float:
    """Run attacks at the same time; return the bystander's longest wait.

    Raises AssertionError when it was not answered, when a violation was not counted, or when
    anything but timers is left in the end.
    """
    arena = Arena(victim, scale, alone=len(attacks) == 1)
    await clean(victim)
    history = await arena.history()
    async with Bystander(victim) as bystander:
        try:
            async with asyncio.TaskGroup() as group:
                for attack in attacks:
                    group.create_task(attack(arena))  # type: ignore[arg-type]
        finally:
            arena.leave()
    await clean(victim)
    _compare(arena, history, await arena.history())
    return bystander.longest_wait


async def clean(victim: Victim, *, timers: bool = False) -> None:
    """Wait until nothing is left; of ``timers`` some may be, until they would have run off."""
    until = time.monotonic() + CLEAN_S
    wanted = {key: value for key, value in victim.pristine.items() if timers or key != "timers"}
    while True:
        report = await asyncio.to_thread(victim.ask, "report")
        left = {key: report[key] for key, value in wanted.items() if report[key] != value}
        # The kernel's list may be long, so it is looked at last.
        left = left or await asyncio.to_thread(victim.ask, "tcp")
        if not left:
            return
        if time.monotonic() > until:
            raise AssertionError(f"left behind: {left}")
        await asyncio.sleep(CHECK_S)


def _compare(arena: Arena, before: dict[str, Any], after: dict[str, Any]) -> None:
    counted = Counter(after["violations"]) - Counter(before["violations"])
    uncounted = arena.expected - counted
    assert not uncounted, f"not counted: {uncounted}"
    said = [line for line in after["log"][len(before["log"]) :] if SUMMARY not in line]
    assert not said, "\n".join(said)
