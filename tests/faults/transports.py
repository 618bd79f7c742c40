"""Connections that write down what passes, and one that repeats itself."""

import asyncio
import random
import time
from contextlib import suppress

from stretto_client.transport import OnEvent, Payload, Transport
from stretto_core.errors import StrettoError
from tests.faults.evidence import (
    Acknowledged,
    Adopted,
    ClientLog,
    Refused,
    Sent,
    markers_in,
)


class LoggingTransport:
    """A transport that writes down what passes; it changes nothing unless it is mischievous."""

    def __init__(self, inner: Transport, log: ClientLog) -> None:
        self._inner = inner
        self._log = log

    async def connect(self, token: str) -> None:
        await self._inner.connect(token)
        self._log.connections += 1

    async def close(self) -> None:
        await self._inner.close()

    async def request(self, namespace: str, event: str, payload: Payload) -> Payload:
        if event == "submit":
            return await self._submit(namespace, payload)
        answer = await self._inner.request(namespace, event, payload)
        self._log.hear(answer)
        if event == "open" and "content" in answer:
            self._log.trail.append(Adopted(answer["epoch"], answer["version"], answer["hash"]))
        return answer

    async def _submit(self, namespace: str, payload: Payload) -> Payload:
        client, seq, began = payload["client"], payload["seq"], time.monotonic()
        self._log.sent.append(Sent(client, seq, markers_in(payload["op"]), began))
        try:
            answer = await self._inner.request(namespace, "submit", payload)
        except StrettoError as error:
            self._log.refused.append(Refused(error.code, began, time.monotonic()))
            raise
        version = answer["version"]
        self._log.acknowledged.append(Acknowledged(client, seq, version, began, time.monotonic()))
        return answer


class Mischief:
    """What an unreliable way does to the frames of one client: a seeded part is lost or doubled."""

    def __init__(self, seed: int, *, part: float = 0.1) -> None:
        self._dice = random.Random(seed)
        self._part = part
        self.done = 0

    def stop(self) -> None:
        self._part = 0.0

    def strikes(self) -> bool:
        struck = self._dice.random() < self._part
        self.done += struck
        return struck

    def hearing(self, on_event: OnEvent) -> OnEvent:
        """Return ``on_event`` with frames of documents lost, doubled, and out of order."""
        late: list[tuple[str, str, Payload]] = []

        def hear(namespace: str, event: str, payload: Payload) -> None:
            if event != "ops" or not self.strikes():
                on_event(namespace, event, payload)
                while late and event == "ops":
                    on_event(*late.pop())
                return
            kind = self._dice.randrange(3)
            if kind == 0:  # twice
                on_event(namespace, event, payload)
                on_event(namespace, event, payload)
            elif kind == 1:  # after the next one
                late.append((namespace, event, payload))
            # else: never

        return hear


class RepeatingTransport(LoggingTransport):
    """Sends some operations twice, as a client may that heard nothing."""

    def __init__(self, inner: Transport, log: ClientLog, mischief: Mischief) -> None:
        super().__init__(inner, log)
        self._mischief = mischief
        self._again: set[asyncio.Task[None]] = set()

    async def _submit(self, namespace: str, payload: Payload) -> Payload:
        if self._mischief.strikes():
            task = asyncio.ensure_future(self._repeat(namespace, payload))
            self._again.add(task)
            task.add_done_callback(self._again.discard)
        return await super()._submit(namespace, payload)

    async def _repeat(self, namespace: str, payload: Payload) -> None:
        with suppress(StrettoError):
            await super()._submit(namespace, payload)

    async def close(self) -> None:
        for task in list(self._again):
            task.cancel()
        await asyncio.gather(*self._again, return_exceptions=True)
        await super().close()
