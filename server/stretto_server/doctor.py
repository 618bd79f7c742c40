"""``stretto doctor``: looks at a machine before people depend on it, one line a finding."""

import asyncio
import importlib.metadata
import os
import re
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from stretto_core.errors import StrettoError
from stretto_server.app import open_journal, sqlite_path
from stretto_server.journal.durability import Examinable
from stretto_server.journal.ownership import read_owner
from stretto_server.page import page_folder
from stretto_server.settings import Settings, SettingsError

OLDEST_PYTHON: Final = (3, 11)
NEEDED: Final = {
    "aiohttp": (3, 14, 3),
    "marshmallow": (4,),
    "orjson": (3, 10),
    "pyjwt": (2, 14),
    "python-socketio": (5, 18),
}
WORTH_HAVING: Final = {"uvloop": "the server is slower without it: pip install uvloop"}
EXPECTED_CONNECTIONS: Final = 10_000
OTHER_FILES: Final = 100
LITTLE_DISK_BYTES: Final = 1024**3
SLOW_FSYNC_MS: Final = 20.0
FSYNCS: Final = 5
ANSWER_TIME: Final = aiohttp.ClientTimeout(total=2)


class Finding(NamedTuple):
    """One line of the report: ``verdict`` is ok, warn or fail."""

    verdict: str
    text: str


def ok(text: str) -> Finding:
    """Return a finding that needs nothing done."""
    return Finding("ok", text)


def warn(text: str) -> Finding:
    """Return a finding that works, but not well."""
    return Finding("warn", text)


def fail(text: str) -> Finding:
    """Return a finding that keeps a server from working."""
    return Finding("fail", text)


async def examine(
    environ: dict[str, str], *, dev: bool | None, data: str | None, journal: str | None
) -> int:
    """Print what there is to say of this machine and its settings; 1 if anything failed."""
    failed = False
    async for finding in _findings(environ, dev=dev, data=data, journal=journal):
        print(f"{finding.verdict:<4}  {finding.text}", flush=True)
        failed = failed or finding.verdict == "fail"
    return int(failed)


async def _findings(
    environ: dict[str, str], *, dev: bool | None, data: str | None, journal: str | None
) -> AsyncIterator[Finding]:
    yield check_python(sys.version_info[:3])
    for finding in (*check_libraries(), check_page(page_folder()), check_open_files()):
        yield finding
    try:
        settings = Settings.from_environ(environ, dev=dev, data=data, journal=journal)
    except SettingsError as error:
        for problem in str(error).splitlines():
            yield fail(f"settings: {problem}")
        return
    yield ok(f"settings: valid, {'development' if settings.dev else 'production'}")
    path = sqlite_path(settings.journal)
    if path is not None:
        async for finding in check_journal(settings, path):
            yield finding
    elif settings.journal == "memory://":
        yield warn(f"journal: {settings.journal} forgets everything when the server stops")
    else:
        async for finding in check_shared_journal(settings):
            yield finding
    yield await check_port(settings)


def check_python(version: tuple[int, ...]) -> Finding:
    """Check the interpreter."""
    shown = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        return fail(f"Python {shown}: Stretto needs {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    return ok(f"Python {shown}")


def check_libraries(
    version: Callable[[str], str] = importlib.metadata.version,
) -> Iterator[Finding]:
    """Check that each library is there and new enough."""
    for name, least in NEEDED.items():
        wanted = ".".join(map(str, least))
        try:
            found = version(name)
        except importlib.metadata.PackageNotFoundError:
            yield fail(f"{name} is missing: pip install 'stretto[server]'")
            continue
        if tuple(map(int, re.findall(r"\d+", found)[:3])) < least:
            yield fail(f"{name} {found}: install {wanted} or newer")
        else:
            yield ok(f"{name} {found}")
    for name, remedy in WORTH_HAVING.items():
        try:
            yield ok(f"{name} {version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield warn(f"{name} is missing: {remedy}")


def check_page(folder: Path | None) -> Finding:
    """Check that the web page was built."""
    if folder is None:
        return warn("web page: not built; `make run` in a checkout builds it")
    return ok(f"web page: {folder}")


def check_open_files(limit: int | None = None) -> Finding:
    """Check how many connections the limit on open files leaves room for."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return ok("open files: no limit")
    text = f"open files: {limit}, room for about {max(0, limit - OTHER_FILES)} connections"
    if limit < EXPECTED_CONNECTIONS + OTHER_FILES:
        return warn(f"{text}; raise it for more: ulimit -n 65536 (systemd: LimitNOFILE=)")
    return ok(text)


async def check_journal(settings: Settings, path: Path) -> AsyncIterator[Finding]:
    """Check the SQLite journal at ``path``: its file, its folder and who holds it."""
    folder = _nearest_folder(path)
    exists = os.access(path, os.F_OK)
    yield await _check_file(settings, path) if exists else ok(f"journal: {path} is new")
    yield _check_owner(path)
    yield check_disk(folder, shutil.disk_usage(folder).free)
    yield await asyncio.to_thread(check_fsync, folder)


async def check_shared_journal(settings: Settings) -> AsyncIterator[Finding]:
    """Check the service that a journal for many nodes lies in, and what it would lose."""
    try:
        journal = open_journal(settings, read_only=True)
        weaknesses: list[str] = []
        try:
            await journal.start()
            if isinstance(journal, Examinable):
                weaknesses = await journal.weaknesses()
        finally:
            await journal.close()
    except (StrettoError, SettingsError) as error:
        yield fail(f"journal: {error}")
        return
    yield ok(f"journal: the {settings.journal_scheme}:// journal answers")
    for weakness in weaknesses:
        yield warn(f"journal: {weakness}")


def _nearest_folder(path: Path) -> Path:
    """Return the first folder above ``path`` that exists; the server makes those below it."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


async def _check_file(settings: Settings, path: Path) -> Finding:
    journal = open_journal(settings, read_only=True)
    try:
        await journal.start()
        problems, schema = await asyncio.to_thread(_integrity, path)
    except StrettoError as error:
        return fail(f"journal: {error.message}")
    except sqlite3.Error as error:
        return fail(f"journal: {path}: {error}: stop the server and restore a backup")
    finally:
        await journal.close()
    if problems != "ok":
        return fail(f"journal: {path} is damaged: {problems}: restore a backup")
    return ok(f"journal: {path} is whole, schema {schema}")


def _integrity(path: Path) -> tuple[str, int]:
    """Return what SQLite says of the file, and the version of its schema."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        return " ".join(said.split()), int(schema)
    finally:
        connection.close()


def _check_owner(path: Path) -> Finding:
    try:
        owner = read_owner(path)
    except StrettoError as error:
        return fail(f"journal: {error.message}")
    if owner is None:
        return ok("journal: no server holds it")
    return ok(f"journal: held by {owner or 'a process that serves nobody (yet)'}")


def check_disk(folder: Path, free: int) -> Finding:
    """Check that there is room for the journal to grow."""
    text = f"disk: {free / 1024**3:.1f} GiB free in {folder}"
    if free < LITTLE_DISK_BYTES:
        return warn(f"{text}; without space no edit can be saved")
    return ok(text)


def check_fsync(folder: Path, fsync: Callable[[int], None] = os.fsync) -> Finding:
    """Measure how long an edit takes to become durable there: the median of a few writes."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            took = sorted(_time_write(file.fileno(), fsync) for _ in range(FSYNCS))
    except OSError as error:
        return fail(f"disk: cannot write in {folder}: {error.strerror}; change the rights there")
    text = f"disk: fsync takes {took[FSYNCS // 2]:.1f} ms"
    if took[FSYNCS // 2] > SLOW_FSYNC_MS:
        return warn(f"{text}; every edit waits that long: use a local disk")
    return ok(text)


def _time_write(descriptor: int, fsync: Callable[[int], None]) -> float:
    os.write(descriptor, b"\0" * 4096)
    start = time.perf_counter()
    fsync(descriptor)
    return (time.perf_counter() - start) * 1000


async def check_port(settings: Settings) -> Finding:
    """Check that the port is free, or served by a Stretto."""
    place = f"{settings.host}:{settings.port}"
    try:
        listener = await asyncio.start_server(lambda *_: None, settings.host, settings.port)
    except OSError as error:
        if await _is_stretto(settings):
            return ok(f"port: a Stretto serves {place} already")
        return fail(f"port: cannot listen on {place}: {error.strerror}; choose another --port")
    listener.close()
    await listener.wait_closed()
    return ok(f"port: {place} is free")


async def _is_stretto(settings: Settings) -> bool:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/livez"
    try:
        async with (
            aiohttp.ClientSession(timeout=ANSWER_TIME) as session,
            session.get(url) as answer,
        ):
            return bool((await answer.json()) == {"status": "alive"})
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
