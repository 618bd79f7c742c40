"""The built SDK in Node, as an ES module and as CommonJS, against real servers."""

import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto_client import LiveDocument, RealtimeClient
from stretto_server import RealtimeServer
from stretto_server.app import NODE
from stretto_server.auth import issue_token
from tests.recording_proxy import recording

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web_client"
SECRET = "a key of the tests that is long enough for HS256"
GRANTS = {"docs/*": "editor", "rooms/*": "editor"}
PATIENCE_S = 20

PRELUDE = """
import { createHmac } from "node:crypto";
import { RealtimeClient, StrettoError } from "stretto-client";
const [url, secret, name = "ann"] = process.argv.slice(2);
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
function issue(ttl) {
  const grants = { "docs/*": "editor", "rooms/*": "editor" };
  const claims = { sub: name, exp: Date.now() / 1000 + ttl, grants };
  const head = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`;
}
const say = (value) => console.log(JSON.stringify(value));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const heard = (() => {
  let wake;
  let line = new Promise((resolve) => (wake = resolve));
  process.stdin.on("data", (data) => wake(String(data).trim()));
  return async () => {
    const said = await line;
    line = new Promise((resolve) => (wake = resolve));
    return said;
  };
})();
"""


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    subprocess.run(
        ["npm", "run", "--silent", "build", "--workspace", "sdk"],
        cwd=WEB,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder from which Node finds the SDK by its name."""
    made = WEB / "node_modules" / f".tests-{os.getpid()}-{request.node.name}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0, host="127.0.0.1", secret=SECRET, journal="memory://", data=tmp_path, drain=1.0
    ) as server:
        yield server


class Program:
    """A Node program that says JSON, one value a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, path: Path, code: str, *arguments: str) -> "Program":
        await asyncio.to_thread(path.write_text, code)
        return cls(
            await asyncio.create_subprocess_exec(
                "node",
                str(path),
                *arguments,
                cwd=WEB,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        )

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def go_on(self, line: str = "go on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    async def rest(self) -> list[str]:
        """Let the program end and return what else it says."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                output, _ = await self.process.communicate()
        finally:
            if self.process.returncode is None:
                self.process.kill()
        assert self.process.returncode == 0, output.decode()
        return output.decode().splitlines()


def token(name: str = "ann") -> str:
    return issue_token(SECRET, name, name=name.title(), grants=GRANTS)


def block(mark: str) -> str:
    text = (ROOT / "docs" / "javascript.md").read_text()
    found = re.search(rf"<!-- file: {re.escape(mark)} -->\n```js\n(.*?)```", text, re.DOTALL)
    assert found, f"no block marked {mark}"
    return found[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hello.mjs", ["Goodbye World saved 1"]),
        ("hello.cjs", ["true invalid_operation false", "🎻 "]),
        (
            "rooms.mjs",
            [
                "wave { hands: 2 } Ann",
                "1 { score: 1 }",
                "2 { score: 1 } 1 Lobby",
                "[ 'lobby' ]",
            ],
        ),
    ],
)
async def test_the_guide(server: RealtimeServer, folder: Path, name: str, said: list[str]) -> None:
    program = await Program.start(folder / name, block(name), server.url, token())
    # Two clients of one program hear the server in an order of their own.
    assert sorted(await program.rest()) == sorted(said)


async def test_it_says_saving_until_the_journal_has_it(
    server: RealtimeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = server._app[NODE].journal
    append = journal.append

    async def slowly(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(2)
        return await append(*arguments, **options)

    code = """
    const client = new RealtimeClient({ url, getToken: () => issue(60) });
    const doc = await client.open("slow");
    const statuses = [];
    doc.on("status", (status) => statuses.push([status, Date.now()]));
    say(doc.status);
    await heard();
    doc.insert(0, "x");
    const from = Date.now();
    const polled = [];
    const poll = setInterval(() => polled.push([doc.status, doc.unsent]), 50);
    await doc.saved();
    clearInterval(poll);
    say([Date.now() - from, [...new Set(polled.map(String))], statuses.map(([s]) => s)]);
    await client.close();
    process.exit();
    """
    program = await Program.start(folder / "slow.mjs", PRELUDE + code, server.url, SECRET)
    assert await program.line() == '"saved"'
    monkeypatch.setattr(journal, "append", slowly)
    await program.go_on()
    (said,) = await program.rest()
    waited, polled, statuses = json.loads(said)
    assert waited >= 1_990
    assert polled == ["saving,1"]
    assert statuses == ["saving", "saved"]


async def test_a_token_that_expires_is_renewed_in_time(
    server: RealtimeServer, folder: Path
) -> None:
    code = """
    let tokens = 0;
    const getToken = async () => { tokens += 1; return issue(2.5); };
    const client = new RealtimeClient({ url, getToken });
    const lost = [];
    client.on("connection.lost", (error) => lost.push(error.message));
    const doc = await client.open("long");
    for (let n = 0; n < 8; n++) {
      await client.sendOperation("long", { type: "insert", position: n, data: String(n) });
      await sleep(500);
    }
    say([doc.text, tokens > 2, lost]);
    const single = new RealtimeClient({ url, auth: { token: issue(-1) } });
    await single.connect().catch((error) => say([error.code, error instanceof StrettoError]));
    await client.close();
    process.exit();
    """
    program = await Program.start(folder / "token.mjs", PRELUDE + code, server.url, SECRET)
    text, refused = await program.rest()
    assert text == '["01234567",true,[]]'
    assert refused == '["token_expired",true]'


RANDOM_EDITS = """
let state = Number(process.argv[5] ?? 1);
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const LETTERS = ["a", "é", "漢", "😀", "🎼", "👩‍🚀", "e\\u0301", "\\n"];
function edit(doc) {
  const points = [...doc.text];
  const at = below(points.length + 1);
  const units = points.slice(0, at).join("").length;
  const taken = points.slice(at, at + below(3)).join("").length;
  if (below(3) === 0 && taken > 0) doc.delete(units, taken);
  else if (below(4) === 0 && taken > 0) doc.replace(units, taken, LETTERS[below(8)]);
  else doc.insert(units, LETTERS[below(8)].repeat(1 + below(3)));
}
"""


def beyond(doc: LiveDocument) -> dict[str, Any]:
    """Ask for nothing but the head."""
    return {"epoch": doc.replica.epoch, "from": doc.version + 1, "limit": 1}


async def test_node_and_python_converge(server: RealtimeServer, folder: Path) -> None:
    code = """
    const client = new RealtimeClient({ url, getToken: () => issue(60) });
    const doc = await client.open("many");
    say("open");
    await heard();
    for (let n = 0; n < 120; n++) {
      edit(doc);
      if (n % 3 === 0) await sleep(below(12));
      if (n === 60) client.connection.close(), client.lost(new StrettoError("unavailable", "cut"));
    }
    await doc.saved();
    say("done");
    const version = Number(await heard());
    while (doc.version < version) await sleep(10);
    say([doc.text, doc.version, doc.hash, doc.status]);
    await client.close();
    process.exit();
    """
    programs = [
        await Program.start(
            folder / f"{name}.mjs", PRELUDE + RANDOM_EDITS + code, server.url, SECRET, name, seed
        )
        for name, seed in (("ann", "7"), ("bob", "11"))
    ]
    chance = random.Random(5)
    async with RealtimeClient(server.url, token("cid")) as client:
        doc = await client.open("many")
        for program in programs:
            assert await program.line() == '"open"'
            await program.go_on()
        for _ in range(120):
            at = chance.randrange(len(doc.text) + 1)
            if chance.random() < 0.3 and at < len(doc.text):
                await doc.delete(at, 1)
            else:
                await doc.insert(at, chance.choice(["x", "🎻", "ß", "👩‍🚀"]))
            await asyncio.sleep(chance.random() * 0.01)
        await doc.saved()
        for program in programs:
            assert await program.line() == '"done"'
        head = (await client.request("/docs", "fetch", {"doc": "many", **beyond(doc)}))["version"]
        for program in programs:
            await program.go_on(str(head))
        ends = [json.loads((await program.rest())[-1]) for program in programs]
        text = await server.documents.read("many")
        async with asyncio.timeout(5):
            while doc.text != text:
                await asyncio.sleep(0.01)
    assert ends[0] == ends[1]
    assert ends[0][0] == text
    assert ends[0][3] == "saved"
    assert len(text) > 100


async def test_a_server_that_is_killed_loses_nothing(tmp_path: Path, folder: Path) -> None:
    code = """
    const client = new RealtimeClient({ url, getToken: () => issue(60), random: () => 0.05 });
    const doc = await client.open("killed");
    say("open");
    for (let n = 0; n < 300; n++) {
      doc.insert(doc.length, `<${n}>`);
      await sleep(10);
    }
    await doc.saved();
    say([doc.text, doc.status]);
    await client.close();
    process.exit();
    """
    process, url = await start_server(tmp_path, 0)
    program = await Program.start(folder / "killed.mjs", PRELUDE + code, url, SECRET)
    assert await program.line() == '"open"'
    for _ in range(2):
        await asyncio.sleep(0.7)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        process, _ = await start_server(tmp_path, int(url.rpartition(":")[2]))
    (said,) = await program.rest()
    text, status = json.loads(said)
    assert status == "saved"
    assert text == "".join(f"<{n}>" for n in range(300))
    async with RealtimeClient(url, token()) as client:
        assert (await client.open("killed")).text == text
    process.terminate()
    await process.wait()


SERVER = """
import asyncio, sys
from stretto_server import RealtimeServer

async def main(port, data, secret):
    journal = f"sqlite:///{data}/stretto.db"
    async with RealtimeServer(
        port=port, host="127.0.0.1", secret=secret, journal=journal, data=data, drain=0.5
    ) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


async def start_server(data: Path, port: int) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(port), str(data), SECRET, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return process, (await process.stdout.readline()).decode().strip()


@pytest.mark.parametrize("compression", [False, True])
async def test_long_frames_are_compressed_on_request(
    tmp_path: Path, folder: Path, compression: bool
) -> None:
    code = """
    const compression = process.argv[5] === "true";
    const client = new RealtimeClient({ url, getToken: () => issue(60), compression });
    const doc = await client.open("long");
    doc.insert(0, "short");
    await doc.saved();
    doc.insert(0, "Much ado about nothing. ".repeat(500));
    await doc.saved();
    await client.close();
    process.exit();
    """
    async with (
        RealtimeServer(
            port=0,
            host="127.0.0.1",
            secret=SECRET,
            journal="memory://",
            data=tmp_path,
            drain=1.0,
            compression=True,
        ) as server,
        recording(server.url) as recorder,
    ):
        program = await Program.start(
            folder / "deflate.mjs",
            PRELUDE + code,
            recorder.url,
            SECRET,
            "ann",
            json.dumps(compression),
        )
        await program.rest()
        sent, answered = recorder.client.frames(), recorder.server.frames()
    negotiated = recorder.server.head.get("sec-websocket-extensions", "")
    assert ("permessage-deflate" in negotiated) is compression
    assert ("sec-websocket-extensions" in recorder.client.head) is compression
    for frames in (sent, answered):
        assert [frame.is_compressed for frame in frames] == [
            compression and len(frame.payload) >= 1024 for frame in frames
        ]
        (long,) = [frame for frame in frames if b"nothing. Much" in frame.payload]
        assert long.is_compressed is compression
        assert (long.size < 400) is compression
