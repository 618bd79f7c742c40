"""Which process owns a journal file: an advisory lock with a line of text in it.

The lock file ``<journal>.lock`` stays on the disk; only the lock on it counts, and the
operating system drops that when its process dies, however it dies.
"""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Final

from stretto_core.errors import Unavailable

ATTEMPTS: Final = 20
PAUSE_S: Final = 0.02
"""A reader of the lock file holds it for an instant; an owner is not put off by that."""


def lock_path(path: Path) -> Path:
    """Return the lock file of the journal at ``path``."""
    return path.with_name(f"{path.name}.lock")


class Ownership:
    """The exclusive right to write the journal at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    async def acquire(self) -> None:
        """Take the lock. Raises Unavailable when another process has it. Cancel-safe."""
        descriptor = self._open()
        try:
            await self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.write("")

    def write(self, text: str) -> None:
        """Say who the owner is (the server's URL): others get it from :func:`read_owner`."""
        if self._descriptor is None:
            raise Unavailable(f"the journal {self._path} is not open for writing")
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError as error:
            raise _cannot_use(self._path, error) from error

    def release(self) -> None:
        """Give the lock back; doing so twice is fine."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(lock_path(self._path), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _cannot_use(self._path, error) from error

    async def _lock(self, descriptor: int) -> None:
        for _ in range(ATTEMPTS):
            if _try_lock(descriptor, fcntl.LOCK_EX):
                return
            await asyncio.sleep(PAUSE_S)
        owner = os.pread(descriptor, 4096, 0).decode(errors="replace")
        by = f" ({owner})" if owner else ""
        raise Unavailable(
            f"the journal {self._path} is in use by another server{by}: "
            "stop that one first, or give this one a file of its own"
        )


def read_owner(path: Path) -> str | None:
    """Return what the owner of the journal at ``path`` wrote; None when no live process owns it.

    An owner that wrote nothing yet gives an empty string. Raises Unavailable when the
    lock file may not be read.
    """
    try:
        descriptor = os.open(lock_path(path), os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot_use(path, error) from error
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        return os.pread(descriptor, 4096, 0).decode(errors="replace")
    finally:
        os.close(descriptor)


def _cannot_use(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"cannot use {lock_path(path)}: {error.strerror}; check the rights there")


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
