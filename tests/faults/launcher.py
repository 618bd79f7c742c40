"""A node with named points: ``python launcher.py FILE serve …`` is ``stretto serve …``.

At each point the node looks into FILE for an order; see :mod:`tests.faults.points`. The
server is wrapped from outside, and runs as it is.
"""

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stretto_server import document_actor
from stretto_server.bus.messages import ACK, CONTROL
from stretto_server.bus.redis import RedisBus
from stretto_server.cli import main
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.redis import RedisJournal
from stretto_server.journal.sqlite import SqliteJournal

# By path: where this runs, the folder of the tests is no place to import from.
_spec = importlib.util.spec_from_file_location(
    "fault_points", Path(__file__).with_name("points.py")
)
assert _spec is not None
assert _spec.loader is not None
points: Any = importlib.util.module_from_spec(_spec)
sys.modules["fault_points"] = points
_spec.loader.exec_module(points)

Passed = Callable[[str], bool]


def journals() -> list[Any]:
    found: list[Any] = [MemoryJournal, RedisJournal, SqliteJournal]
    if importlib.util.find_spec("asyncpg") is not None:
        from stretto_server.journal.postgres import PostgresJournal

        found.append(PostgresJournal)
    return found


def wrap_journal(journal: Any, passed: Passed) -> None:
    append, compact = journal.append, journal.compact

    async def append_with_points(self: Any, *arguments: Any, **options: Any) -> Any:
        passed(points.BEFORE_SCRIPT)
        appending = asyncio.ensure_future(append(self, *arguments, **options))
        for _ in range(3):  # the loop's turns in which the bytes leave
            await asyncio.sleep(0)
        passed(points.UNDER_WAY)
        result = await appending
        passed(points.AFTER_SCRIPT)
        return result

    async def compact_with_points(self: Any, *arguments: Any, **options: Any) -> Any:
        passed(points.BEFORE_COMPACTION)
        result = await compact(self, *arguments, **options)
        passed(points.AFTER_COMPACTION)
        return result

    journal.append, journal.compact = append_with_points, compact_with_points


def wrap_answers(passed: Passed) -> None:
    actor: Any = document_actor
    resolve = actor.resolve

    def resolve_with_point(*arguments: Any) -> None:
        passed(points.BEFORE_ACK)
        resolve(*arguments)

    actor.resolve = resolve_with_point


def wrap_bus(file: Path) -> None:
    """Let messages of documents and rooms come as the file says; the rest is left alone."""
    unreliable = points.Unreliable(file)
    hear = RedisBus.hear

    def hear_unreliably(self: RedisBus, channel: bytes, message: bytes) -> None:
        if message[:1] in (CONTROL, ACK):
            hear(self, channel, message)
            return
        for one in unreliable.pass_on(channel, message):
            hear(self, *one)

    RedisBus.hear = hear_unreliably  # type: ignore[method-assign]


def wrap(file: Path) -> None:
    wrap_bus(file.with_name("mischief.json"))
    passed = points.Passages(file).passed
    for journal in journals():
        wrap_journal(journal, passed)
    wrap_answers(passed)


if __name__ == "__main__":
    wrap(Path(sys.argv.pop(1)))
    sys.exit(main(sys.argv[1:]))
