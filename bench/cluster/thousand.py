"""A thousand writers of one document: most of them in C, some with the SDK, all to agree."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from bench.cluster.load import FIRST_LETTER, Work, drive
from bench.cluster.nodes import LAST_CPU, Cluster, Layout, cluster
from bench.cluster.replicas import JOINED, Company, differences, without_letters
from bench.engine.documents import expected_text
from bench.server import child
from stretto_core.protocol import Limits
from stretto_server.document_log import authority_of
from stretto_server.journal.redis import RedisJournal

DOC: Final = "bench-0"
EVERY_S: Final = 2.0
"""How often each writer types a character."""
LAST_WORDS_S: Final = 90.0

Figures = dict[str, Any]


def measure(layout: Layout, *, writers: int, replicas: int, warm: float, seconds: float) -> Figures:
    """Let ``writers`` type, ``replicas`` of them with the SDK; return the generator's figures.

    Raises RuntimeError when a version is missed, or texts or hashes differ in the end.
    """
    typists = writers - replicas
    work = Work(clients=typists, rate=typists / EVERY_S, warm=warm, seconds=seconds)
    with cluster(layout) as nodes:
        with _replicas(nodes, replicas) as company:
            figures = drive(nodes, work, company.pid)
            found = _told(company)
        seen: list[Mapping[str, Any]] = [*found, journal_of(nodes), *_documents(nodes)]
    if different := differences(seen):
        raise RuntimeError(f"replicas, nodes and journal differ in {', '.join(different)}")
    (typed,) = figures.pop("documents")
    text = expected_text(work.chars, typed["accepted"], FIRST_LETTER)
    if without_letters(found[0]["text"], replicas) != text:
        raise RuntimeError("the text is not what was typed")
    return figures


def journal_of(nodes: Cluster) -> Mapping[str, Any]:
    """Return the document as the journal alone has it: its snapshot, and what came after."""
    assert nodes.redis is not None
    return asyncio.run(_replayed(nodes.redis.url))


async def _replayed(url: str) -> Mapping[str, Any]:
    journal = RedisJournal(url, read_only=True)
    await journal.start()
    try:
        loaded = await journal.load(DOC)
    finally:
        await journal.close()
    if loaded is None:
        raise RuntimeError("the journal has no document")
    authority = authority_of(loaded, Limits())
    return {"version": authority.version, "hash": authority.hash, "text": authority.text}


def _documents(nodes: Cluster) -> list[Mapping[str, Any]]:
    """Return the document as each node has it (of workers, one of them)."""
    return [nodes.document(DOC, port) for port in nodes.ports]


@contextmanager
def _replicas(nodes: Cluster, count: int) -> "Iterator[subprocess.Popen[str]]":
    """Run replicas, which have the document open when this returns."""
    urls = [f"http://127.0.0.1:{port}" for port in nodes.ports]
    tokens = [nodes.token(10_000 + number) for number in range(count)]
    company = Company(urls, tokens, DOC, EVERY_S)
    command = [sys.executable, "-m", "bench.cluster.replicas", company.to_argument()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with child(command, LAST_CPU, environment, None, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if line != JOINED:
            raise RuntimeError(f"the replicas did not join: {line}")
        yield process


def _told(process: "subprocess.Popen[str]") -> Sequence[dict[str, Any]]:
    """Let the replicas stop typing; return what they have."""
    output, _ = process.communicate("\n", timeout=LAST_WORDS_S)
    if process.returncode:
        raise RuntimeError("the replicas failed; they said why above")
    found: list[dict[str, Any]] = json.loads(output)
    return found
