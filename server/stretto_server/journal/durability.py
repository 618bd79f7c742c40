"""What an operator should know of a journal before people depend on it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Examinable(Protocol):
    """A journal in a service of its own, whose settings decide what it may lose."""

    async def weaknesses(self) -> list[str]:
        """Return what would lose acknowledged edits, with what to do about it.

        Call it between ``start`` and ``close``; raises Unavailable.
        """
