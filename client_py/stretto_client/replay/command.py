"""The command: set the stage, play, compare everything, report."""

import argparse
import asyncio
import json
import random
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

from stretto_client.client import RealtimeClient
from stretto_client.replay.audit import (
    compare_texts,
    entries_of_history,
    missing_acks,
    replay_log,
)
from stretto_client.replay.child import Child, Killer, process_environ, run_stretto
from stretto_client.replay.player import Author, Measured, MeasuredClient, Stage
from stretto_client.replay.recorded import edits_of
from stretto_client.replay.traces import Trace, TraceError, read_trace
from stretto_core.entries import Entry
from stretto_core.errors import StrettoError, Unauthenticated, Unavailable
from stretto_core.protocol import DOCS

MOST_PATCHES_PER_SUBMIT = 4
CATCH_UP_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("file", type=Path, help="a trace: .json[.gz] or .jsonl[.gz]")
    parser.add_argument("--url", help="play through a server that runs already")
    parser.add_argument("--token", help="token for it; else STRETTO_TOKEN, else a --dev guest")
    parser.add_argument(
        "--server-cmd",
        metavar="COMMAND",
        help="start this server for the replay ('stretto serve --dev' when there is no --url)",
    )
    parser.add_argument("--kill", type=_count, default=0, metavar="N", help="SIGKILL it N times")
    parser.add_argument(
        "--seed", type=int, default=1, help="decides when it is killed and what is sent twice (1)"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="play the first N patches only")
    parser.add_argument("--doc", help="the document's id (a random one)")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


_count.__name__ = "count"  # what argparse calls it


async def run(arguments: argparse.Namespace) -> int:
    """Play a trace; return 0 when everything held, 1 after a violation, 2 for wrong usage.

    Cancelled, also by SIGTERM, it ends the server that it started.
    """
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows' loop has no signal handlers
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await _run(arguments)
    except asyncio.CancelledError:
        if not terminated:
            raise
        return 128 + signal.SIGTERM
    finally:
        with suppress(NotImplementedError):  # as above
            loop.remove_signal_handler(signal.SIGTERM)


async def _run(arguments: argparse.Namespace) -> int:
    try:
        trace = read_trace(arguments.file).limited(arguments.limit)
    except TraceError as error:
        print(f"stretto replay: {error}", file=sys.stderr)
        return 2
    if arguments.url and (arguments.server_cmd or arguments.kill):
        print("stretto replay: --url excludes --server-cmd and --kill", file=sys.stderr)
        return 2
    doc = arguments.doc or f"replay/{secrets.token_hex(6)}"
    measured = Measured()
    if arguments.url:
        token = arguments.token or process_environ().get("STRETTO_TOKEN")
        await _play_and_compare(arguments.url, token, doc, trace, measured, arguments.seed, None)
    else:
        with tempfile.TemporaryDirectory(prefix="stretto-replay-") as folder:
            await _with_child(arguments, Path(folder), doc, trace, measured)
    return _report(measured, trace)


async def _with_child(
    arguments: argparse.Namespace, folder: Path, doc: str, trace: Trace, measured: Measured
) -> None:
    """Play through a server of our own, and look at its journal from fresh processes."""
    environ = process_environ()
    child = Child(arguments.server_cmd, folder, environ)
    await child.start()
    try:
        killer = None
        if arguments.kill:
            killer = Killer(child, arguments.kill, trace.patch_count, arguments.seed)
        await _play_and_compare(
            child.url, arguments.token, doc, trace, measured, arguments.seed, killer
        )
        if killer is not None and killer.left:
            measured.problems.append(f"{killer.left} kills found no submit in flight")
        if (code := await child.stop()) != 0:
            measured.problems.append(f"the server ended with exit code {code}")
        print(f"server killed {child.kills} times, journal {child.journal}")
        if not child.journal.startswith("memory:"):  # which ended with its process
            await _audit_journal(child.journal, doc, measured, environ)
    finally:
        await child.kill()


async def _audit_journal(
    journal: str, doc: str, measured: Measured, environ: Mapping[str, str]
) -> None:
    code, output = await run_stretto("docs", "verify", doc, "--journal", journal, environ=environ)
    print(f"stretto docs verify: {output.strip()}")
    if code != 0:
        measured.problems.append("stretto docs verify found the log unsound")
    code, output = await run_stretto(
        "docs", "history", doc, "--json", "--journal", journal, environ=environ
    )
    if code != 0:
        measured.problems.append(f"stretto docs history failed: {output.strip()}")
        return
    entries, problems = entries_of_history(json.loads(line) for line in output.splitlines())
    measured.problems += problems + missing_acks(measured.acked, entries)
    print(f"fresh process: {len(measured.acked)} acknowledged, {len(entries)} in the log")


async def _play_and_compare(
    url: str,
    token: str | None,
    doc: str,
    trace: Trace,
    measured: Measured,
    seed: int,
    killer: Killer | None,
) -> None:
    tokens = [token or await guest_token(url, f"Author {n + 1}") for n in range(trace.authors + 1)]
    submitted, failure = (killer.submitted, killer.failure) if killer else (None, None)
    clients = [
        MeasuredClient(url, one, measured, random.Random(f"{seed} {number}"), submitted)
        for number, one in enumerate(tokens[:-1])
    ]
    try:
        for client in clients:
            await client.connect()
        if trace.start:
            await clients[0].send_operation(
                doc, {"type": "insert", "position": 0, "data": trace.start}
            )
        authors = [Author(one, await one.open(doc), measured) for one in clients]
        started = time.perf_counter()
        with _progress(trace.patch_count, killer) as progress:
            try:
                await Stage(authors, progress, failure=failure).play(list(edits_of(trace)))
            except* StrettoError as group:
                reasons = {str(error) for error in group.exceptions}
                measured.problems.append(f"playing stopped: {'; '.join(sorted(reasons))}")
        _print_speed(measured, time.perf_counter() - started)
        if failure is not None and failure.done():
            return  # without a server there is nothing to compare; the journal is read later
        try:
            await _compare(url, tokens[-1], doc, trace, authors, measured)
        except StrettoError as error:
            measured.problems.append(f"nothing was compared: {error.message}")
    finally:
        for client in clients:
            await client.close()


async def _compare(
    url: str,
    token: str,
    doc: str,
    trace: Trace,
    authors: Sequence[Author],
    measured: Measured,
) -> None:
    """Compare all replicas, the server's text and the log replayed from nothing."""
    async with RealtimeClient(url, token) as client:
        fresh = await client.open(doc)
        head = fresh.version
        with suppress(TimeoutError):  # an author that does not come so far differs below
            async with asyncio.timeout(CATCH_UP_S):
                for author in authors:
                    while author.document.version < head:
                        await author.wait()
        entries = await fetch_log(client, doc, fresh.replica.epoch, head)
    replayed = replay_log(entries)
    texts = {"the log replayed": replayed.text, "the server": fresh.text}
    hashes = {"the log replayed": replayed.hash, "the server": fresh.replica.hash}
    for number, author in enumerate(authors, 1):
        texts[f"author {number}"] = author.document.text
        hashes[f"author {number}"] = author.document.replica.hash
    measured.problems += replayed.problems
    measured.problems += compare_texts(texts, hashes)
    measured.problems += missing_acks(measured.acked, entries)
    _compare_end(trace, replayed.text, measured)


def _compare_end(trace: Trace, text: str, measured: Measured) -> None:
    if trace.end is None:
        return
    if trace.sequential:
        if text != trace.end:
            measured.problems.append("the text is not the trace's endContent")
        print(f"endContent: {'equal' if text == trace.end else 'DIFFERENT'}")
    else:
        # Where authors meet, the order of commits decides, and it was not the recorded one.
        same = text == trace.end
        letters = sorted(text) == sorted(trace.end)
        print(f"endContent: equal {same}, same characters {letters}, length {len(text)}")


async def fetch_log(client: RealtimeClient, doc: str, epoch: str, head: int) -> list[Entry]:
    """Return the whole log of a document that is open on ``client``."""
    entries: list[Entry] = []
    while len(entries) < head:
        payload = {"doc": doc, "epoch": epoch, "from": len(entries) + 1}
        page = await client.request(DOCS, "fetch", payload)
        entries += [Entry.from_payload(entry) for entry in page["ops"]]
    return entries


async def guest_token(url: str, name: str) -> str:
    """Return a guest's token of a ``--dev`` server.

    Raises Unauthenticated with what to do, and Unavailable where no server is reached.
    """
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url.rstrip('/')}/dev/token", json={"name": name}) as response,
        ):
            if response.status != 200:
                raise Unauthenticated("this server gives no guest tokens: use --token")
            token: str = (await response.json())["token"]
            return token
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"no guest token from {url}: {error}") from error


@contextmanager
def _progress(total: int, killer: Killer | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    done = 0
    with bar:
        task = bar.add_task("patches", total=total)

        def advance(patches: int) -> None:
            nonlocal done
            before, done = done, done + patches
            if killer is not None:
                killer.played = done
            bar.advance(task, patches)
            if not console.is_terminal and patches and before * 10 // total != done * 10 // total:
                print(f"{done * 100 // total} % of {total} patches", file=sys.stderr)

        yield advance


def _print_speed(measured: Measured, elapsed: float) -> None:
    submits = len(measured.acked)
    print(
        f"{measured.patches} patches in {submits} submits ({measured.sent_twice} of them sent "
        f"twice), {elapsed:.1f} s: "
        f"{submits / elapsed:.0f} ops/s, {measured.patches / elapsed:.0f} patches/s"
    )
    if len(measured.latencies) > 1:
        cuts = statistics.quantiles(measured.latencies, n=100)
        shown = ", ".join(f"p{n} {cuts[n - 1] * 1000:.2f} ms" for n in (50, 95, 99))
        print(f"submit → ack: {shown}")
    if measured.patches_per_submit:
        print(f"patches per submit: median {statistics.median(measured.patches_per_submit):g}")


def _report(measured: Measured, trace: Trace) -> int:
    if measured.patches != trace.patch_count:
        measured.problems.append(f"{measured.patches} of {trace.patch_count} patches were played")
    counts = measured.patches_per_submit
    if counts and statistics.median(counts) > MOST_PATCHES_PER_SUBMIT:
        measured.problems.append("the buffer swallowed the trace: too many patches per submit")
    for problem in measured.problems:
        print(f"VIOLATION: {problem}", file=sys.stderr)
    if measured.problems:
        return 1
    print("clean: all replicas equal, nothing acknowledged was lost, nothing is there twice")
    return 0
