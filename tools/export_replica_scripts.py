"""Write what happened to replicas in the simulation, for replicas in other languages.

``python -m tools.export_replica_scripts`` writes ``tests/vectors/replica.jsonl.gz``. Each line is
one replica's life: its calls in order, and after each call what it wanted to send and what it
showed. A life ends before the first thing that another implementation may decide otherwise
(how two texts differ, when a saved state is taken up again).
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from stretto_core.effects import Effect, Request
from stretto_core.errors import StrettoError
from stretto_core.ot import Component
from stretto_core.protocol import Limits
from stretto_core.replica import Replica
from tests.core.simulation import LIMITS, Simulation

TARGET: Final = Path(__file__).parents[1] / "tests" / "vectors" / "replica.jsonl.gz"
SEEDS: Final = 60
LEAST_STEPS: Final = 30
MOST_STEPS: Final = 250
Step = dict[str, Any]


class RecordedReplica(Replica):
    """A replica that remembers its calls."""

    lives: Final[list[list[Step]]] = []

    def __init__(
        self, doc: str, fresh_client: Callable[[], str], *, limits: Limits | None = None
    ) -> None:
        self.steps: list[Step] = []
        self.over = False
        self._requests: list[Request] = []

        def fresh() -> str:
            client = fresh_client()
            self._note({"call": "client", "client": client})
            return client

        RecordedReplica.lives.append(self.steps)
        super().__init__(doc, fresh, limits=limits)

    def _note(self, step: Step) -> None:
        if not self.over:
            self.steps.append(step)

    def _after(self, step: Step) -> None:
        self._note(step | {"text": self.text, "version": self.version, "saved": self.is_saved})

    def edit(self, op: Sequence[Component]) -> list[Effect]:
        """Record a local edit."""
        effects = super().edit(op)
        self._after({"call": "edit", "op": list(op)})
        return effects

    def next_request(self) -> Request | None:
        """Record what is wanted; nothing wanted twice in a row is recorded once."""
        request = super().next_request()
        wanted = None if request is None else {"event": request.event, "payload": request.payload}
        step = {"call": "next_request", "request": wanted}
        if self.steps[-1] != step:
            self._note(step)
        if request is not None:
            self._requests.append(request)
        return request

    def answered(self, request: Request, answer: Mapping[str, Any]) -> list[Effect]:
        """Record an answer, but not one that replaces a history under pending edits."""
        if request.event == "open" and "content" in answer and self.known:
            self.over = True
        effects = super().answered(request, answer)
        number = self._requests.index(request)
        told = {**answer, **({"member_id": "me"} if "member_id" in answer else {})}
        self._after({"call": "answered", "request": number, "answer": told})
        return effects

    def failed(self, request: Request, error: StrettoError) -> list[Effect]:
        """Record an error."""
        effects = super().failed(request, error)
        number = self._requests.index(request)
        self._after({"call": "failed", "request": number, "error": error.to_payload()})
        return effects

    def received(self, event: str, payload: Mapping[str, Any]) -> list[Effect]:
        """Record an event."""
        effects = super().received(event, payload)
        self._after({"call": "received", "event": str(event), "payload": dict(payload)})
        return effects

    def disconnected(self) -> None:
        """Record a lost connection."""
        super().disconnected()
        self._after({"call": "disconnected"})


class RecordedSimulation(Simulation):
    """A simulation whose replicas are recorded."""

    def _replica(self) -> Replica:
        return RecordedReplica("notes/today", self._fresh_client, limits=LIMITS)


def scripts() -> list[Step]:
    """Return the lives that are long enough, with their limits."""
    RecordedReplica.lives.clear()
    for seed in range(SEEDS):
        RecordedSimulation(seed).run()
    limits = {"op_components": LIMITS.op_components, "op_inserted": LIMITS.op_inserted}
    return [
        {"doc": "notes/today", "limits": limits, "steps": steps[:MOST_STEPS]}
        for steps in RecordedReplica.lives
        if len(steps) >= LEAST_STEPS
    ]


def encoded() -> bytes:
    """Return the file's content, the same for the same code."""
    header = {
        "what": "lives of replicas: calls, and what each led to",
        "call": "client (the id that a replica was given), edit, next_request, answered, failed, "
        "received, disconnected; `request` numbers the requests so far, from 0",
    }
    lines = [json.dumps(one, ensure_ascii=False) for one in (header, *scripts())]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


def main() -> int:
    """Write the file, or with ``--check`` tell whether it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if not parser.parse_args().check:
        TARGET.write_bytes(encoded())
        return 0
    if gzip.decompress(TARGET.read_bytes()) != gzip.decompress(encoded()):
        print(f"{TARGET.name} is out of date: make protocol", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
