import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_server.journal import ownership
from stretto_server.journal.ownership import Ownership, lock_path, read_owner

HOLDER = """
import asyncio, sys
from pathlib import Path
from stretto_server.journal.ownership import Ownership
owner = Ownership(Path(sys.argv[1]))
asyncio.run(owner.acquire())
owner.write("held elsewhere")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(autouse=True)
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "ATTEMPTS", 3)


@pytest.fixture
def held_elsewhere(path: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_an_owner_says_who_it_is(path: Path) -> None:
    assert read_owner(path) is None
    owner = Ownership(path)
    await owner.acquire()
    assert read_owner(path) == ""
    owner.write("http://127.0.0.1:8080 and more")
    owner.write("http://[::1]:80")
    assert read_owner(path) == "http://[::1]:80"
    owner.release()
    owner.release()
    assert read_owner(path) is None


async def test_there_is_one_owner(path: Path) -> None:
    first, second = Ownership(path), Ownership(path)
    await first.acquire()
    with pytest.raises(Unavailable, match="in use by another server"):
        await second.acquire()
    first.release()
    await second.acquire()
    assert read_owner(path) == ""
    second.release()


async def test_a_dead_owner_owns_nothing(
    path: Path, held_elsewhere: "subprocess.Popen[str]"
) -> None:
    assert read_owner(path) == "held elsewhere"
    with pytest.raises(Unavailable, match=r"another server \(held elsewhere\)"):
        await Ownership(path).acquire()
    held_elsewhere.kill()
    held_elsewhere.wait()
    assert read_owner(path) is None
    owner = Ownership(path)
    await owner.acquire()
    assert read_owner(path) == ""
    owner.release()


async def test_a_reader_of_the_lock_does_not_put_an_owner_off(path: Path) -> None:
    reader = Ownership(path)
    await reader.acquire()
    asyncio.get_running_loop().call_later(0.01, reader.release)
    owner = Ownership(path)
    await owner.acquire()
    owner.release()


async def test_a_lock_that_cannot_be_used(path: Path) -> None:
    lock_path(path).mkdir()
    with pytest.raises(Unavailable, match=r"journal\.db\.lock: Is a directory"):
        await Ownership(path).acquire()
    owner = Ownership(path)
    with pytest.raises(Unavailable, match="not open for writing"):
        owner.write("nobody")


async def test_a_disk_without_room_for_the_text(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = Ownership(path)
    await owner.acquire()
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(Unavailable, match="No space left"):
        owner.write("http://127.0.0.1:8080")
    owner.release()


def test_a_lock_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        read_owner(tmp_path / "file" / "journal.db")


async def test_cancelling_gives_up(path: Path) -> None:
    first, second = Ownership(path), Ownership(path)
    await first.acquire()
    open_files = len(os.listdir("/proc/self/fd"))
    task = asyncio.ensure_future(second.acquire())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(os.listdir("/proc/self/fd")) == open_files
    first.release()
