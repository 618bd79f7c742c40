"""``stretto docs …``: looking after documents from the command line.

Reading opens the journal read-only, beside a running server. Changing goes through the
server that holds the journal, if one does, so that everybody who has the document open
sees it; else straight to the journal.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from stretto_core.errors import (
    InvalidRequest,
    NotFound,
    Unavailable,
    error_from_payload,
)
from stretto_core.protocol import is_resource_id
from stretto_server import wire_json
from stretto_server.app import open_documents, open_journal, sqlite_path
from stretto_server.auth import Role, issue_token
from stretto_server.document_log import authority_of
from stretto_server.documents import Documents
from stretto_server.journal.interface import Head, Journal, Loaded
from stretto_server.journal.ownership import read_owner
from stretto_server.settings import Settings, SettingsError
from stretto_server.verification import find_problems, read_log

OPERATOR = "stretto-operator"
"""Whom changes made from the command line are by."""

ANSWER_TIME = aiohttp.ClientTimeout(total=60)

_TTL = re.compile("([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def command_settings(*, keyless: bool = True, **flags: Any) -> Settings:
    """Return the settings of a command that serves nobody."""
    return Settings.from_environ(os.environ, keyless=keyless, host="127.0.0.1", **flags)


def parse_ttl(text: str) -> float:
    """Return the seconds of ``90s``, ``15m``, ``1h`` or ``7d``. Raises SettingsError."""
    match = _TTL.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise SettingsError(f"--ttl takes 90s, 15m, 1h or 7d, not {text!r}")
    return float(int(match[1]) * _SECONDS[match[2]])


def parse_grants(rows: Sequence[str]) -> dict[str, str]:
    """Return ``{pattern: role}`` of ``PATTERN=ROLE`` rows. Raises SettingsError."""
    grants = {}
    for row in rows:
        pattern, _, role = row.rpartition("=")
        if not pattern or role not in {known.word for known in Role}:
            raise SettingsError(f"--grant takes PATTERN=viewer|editor|owner, not {row!r}")
        grants[pattern] = role
    return grants


async def list_documents(arguments: argparse.Namespace) -> int:
    """Print the documents, one a line."""
    async with _journal(arguments) as journal:
        after = ""
        while rows := await journal.documents(arguments.prefix, after, 200):
            for row in rows:
                facts = {"doc": row.doc, **_facts(row.head), "updated_ms": row.updated_ms}
                if arguments.json:
                    print(json.dumps(facts))
                else:
                    print(f"{row.doc}\tversion {row.head.version}\t{_when(row.updated_ms)}")
            after = rows[-1].doc
    return 0


async def show(arguments: argparse.Namespace) -> int:
    """Print where a document stands."""
    async with _journal(arguments) as journal:
        loaded = await _load(journal, arguments.doc)
        text = authority_of(loaded, arguments.settings.limits).text
        facts = {
            "doc": arguments.doc,
            **_facts(loaded.head),
            "snapshot_version": loaded.snapshot.version,
            "characters": len(text),
        }
        for key, value in facts.items():
            print(f"{key}: {value}")
    return 0


async def export(arguments: argparse.Namespace) -> int:
    """Write a document's text to a file or to standard output."""
    async with _journal(arguments) as journal:
        loaded = await _load(journal, arguments.doc)
        text = authority_of(loaded, arguments.settings.limits).text
    _write(arguments.output, text.encode())
    return 0


async def history(arguments: argparse.Namespace) -> int:
    """Print the entries that the journal still has, oldest first."""
    async with _journal(arguments) as journal:
        head = (await _load(journal, arguments.doc)).head
        first = max(arguments.first or 1, head.floor + 1)
        async for version, entry, reached in read_log(journal, arguments.doc, head, first):
            if arguments.json:
                print(json.dumps({"version": version, **entry.to_payload(), "hash": reached}))
            else:
                shown = json.dumps(list(entry.op), ensure_ascii=False)
                print(f"{version}\t{_when(entry.at_ms)}\t{entry.user}\t{shown[:120]}")
    return 0


async def verify(arguments: argparse.Namespace) -> int:
    """Replay a log and compare: text, hashes, each (client, seq) once and in order."""
    async with _journal(arguments) as journal:
        try:
            loaded = await _load(journal, arguments.doc)
            problems = await find_problems(journal, arguments.doc, loaded)
        except ValueError as error:
            problems = [f"an entry or a snapshot cannot be read: {error}"]
    for problem in problems:
        print(f"{arguments.doc}: {problem}", file=sys.stderr)
    if problems:
        return 1
    head = loaded.head
    print(
        f"{arguments.doc}: clean, {head.version - head.floor} of {head.version} versions replayed, "
        f"hash {head.hash}"
    )
    return 0


async def import_(arguments: argparse.Namespace) -> int:
    """Start another history of a document with the text of a file (``-``: standard input)."""
    try:
        text = _read(arguments.file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{arguments.file} is not UTF-8 text: {error}") from None
    async with _operator(arguments) as operator:
        if not arguments.replace and await operator.exists(arguments.doc):
            raise InvalidRequest(f"{arguments.doc} exists already: use --replace to start it anew")
        head = await operator.replace(arguments.doc, text)
    print(f"{arguments.doc}: imported {len(text)} characters as version {head['version']}")
    return 0


async def delete(arguments: argparse.Namespace) -> int:
    """Delete a document for everyone."""
    if not (arguments.yes or _confirms(arguments.doc)):
        print("not deleted", file=sys.stderr)
        return 1
    async with _operator(arguments) as operator:
        if not await operator.delete(arguments.doc):
            raise NotFound(f"there is no document {arguments.doc}")
    print(f"{arguments.doc}: deleted")
    return 0


def _read(source: str) -> bytes:
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


def _write(target: str, content: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        Path(target).write_bytes(content)


def _confirms(doc: str) -> bool:
    try:
        answer = input(f"Delete {doc} with its whole history? Type its id to confirm: ")
    except EOFError:  # nobody is there to ask
        return False
    return answer.strip() == doc


async def _load(journal: Journal, doc: str) -> Loaded:
    if not is_resource_id(doc):
        raise InvalidRequest(f"{doc!r} is not a document id")
    loaded = await journal.load(doc)
    if loaded is None:
        raise NotFound(f"there is no document {doc}")
    return loaded


@asynccontextmanager
async def _journal(arguments: argparse.Namespace) -> AsyncIterator[Journal]:
    arguments.settings = command_settings(journal=arguments.journal, data=arguments.data)
    journal = open_journal(arguments.settings, read_only=True)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.close()


class _Direct:
    """Changes documents in the journal itself, which no server holds."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def exists(self, doc: str) -> bool:
        try:
            return (await self._documents.state(doc)).version > 0
        except NotFound:
            return False

    async def replace(self, doc: str, text: str) -> dict[str, Any]:
        return _facts(await self._documents.replace(doc, text, user=OPERATOR))

    async def delete(self, doc: str) -> bool:
        return await self._documents.delete(doc)


class _ThroughServer:
    """Changes documents through the running server's HTTP interface for operators."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def exists(self, doc: str) -> bool:
        answer = await self._call("GET", doc)
        return answer is not None and answer["version"] > 0

    async def replace(self, doc: str, text: str) -> dict[str, Any]:
        return await self._call("PUT", doc, {"text": text}) or {}

    async def delete(self, doc: str) -> bool:
        answer = await self._call("DELETE", doc)
        return answer is not None and bool(answer["deleted"])

    async def _call(
        self, method: str, doc: str, body: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        url = f"{self._url}/api/docs/{quote(doc)}"
        async with self._session.request(method, url, json=body) as response:
            answer: dict[str, Any] = await response.json()
        if answer.get("ok"):
            return answer
        error = error_from_payload(answer.get("error", {}))
        if isinstance(error, NotFound):
            return None
        raise error


@asynccontextmanager
async def _operator(arguments: argparse.Namespace) -> AsyncIterator[_Direct | _ThroughServer]:
    if not is_resource_id(arguments.doc):
        raise InvalidRequest(f"{arguments.doc!r} is not a document id")
    settings = command_settings(
        journal=arguments.journal, data=arguments.data, dev=arguments.dev or None
    )
    url = running_server(settings)
    if url is None:
        async with open_documents(settings) as documents:
            yield _Direct(documents)
    else:
        async with _through_server(settings, url) as operator:
            yield operator


@asynccontextmanager
async def _through_server(settings: Settings, url: str) -> AsyncIterator[_ThroughServer]:
    if not url:
        raise Unavailable("another process holds the journal and serves nobody: wait for it")
    if settings.secret is None:
        raise SettingsError(
            f"the server at {url} holds the journal: set its STRETTO_SECRET, or use --dev"
        )
    token = issue_token(
        settings.secret,
        OPERATOR,
        grants={"docs/*": Role.OWNER.word},
        ttl_s=300,
        audience=settings.token_audience,
        issuer=settings.token_issuer,
    )
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        headers=headers, json_serialize=wire_json.dumps, timeout=ANSWER_TIME
    ) as session:
        try:
            yield _ThroughServer(session, url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the server at {url} did not answer: {error}") from error


def running_server(settings: Settings) -> str | None:
    """Return the URL of the server that holds the journal; None when nobody does."""
    path = sqlite_path(settings.journal)
    return read_owner(path) if path is not None else None


def _facts(head: Head) -> dict[str, Any]:
    return {
        "epoch": head.epoch,
        "version": head.version,
        "hash": head.hash,
        "floor": head.floor,
    }


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
