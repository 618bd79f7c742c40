"""Fuzzing of what reads a peer's bytes: Engine.IO, Socket.IO, WebSocket frames, sessions.

Coverage guides it where atheris is installed; elsewhere it mutates blindly.

    python -m tests.core.eio.fuzz --minutes 10 [--seed N] [--blindly]
    python -m tests.core.eio.fuzz --target stream --input FILE
"""

import argparse
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

WEIGHED_ONE_IN: Final = 500
"""Tracing every allocation is slow."""
INSTRUMENTED: Final = [
    "stretto_core.eio",
    "stretto_server.engine.codecs",
    "stretto_server.wire_json",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.eio.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--blindly", action="store_true", help="without atheris")
    parser.add_argument("--target")
    parser.add_argument("--input", type=Path)
    options = parser.parse_args(arguments)
    guided = not options.blindly and importlib.util.find_spec("atheris") is not None
    if options.input is not None:
        return _again(options.target, options.input)
    print(f"fuzzing for {options.minutes:g} minutes, seed {options.seed}", flush=True)
    return (_guided if guided else _blindly)(options.minutes * 60, options.seed)


def _targets() -> list[Any]:
    return list(importlib.import_module("tests.core.eio.fuzz.targets").TARGETS)


def _again(name: str, path: Path) -> int:
    for target in _targets():
        if target.name == name:
            data = path.read_bytes()
            target(data)
            target.weigh(data)
    return 0


def _save(target: Any, data: bytes) -> None:
    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / target.name
    path.write_bytes(data)
    again = f"python -m tests.core.eio.fuzz --target {target.name} --input {path}"
    print(f"{target.name} breaks a promise with {data[:200]!r}; again with: {again}", flush=True)


class _Judge:
    """Runs targets, and keeps what they break at."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, target: Any, data: bytes) -> None:
        self.runs += 1
        try:
            target(data)
            if self.runs % WEIGHED_ONE_IN == 0:
                target.weigh(data)
        except Exception:
            _save(target, data)
            raise


def _blindly(seconds: float, seed: int) -> int:
    mutation = importlib.import_module("tests.core.eio.fuzz.mutation")
    chance = random.Random(seed)
    judge = _Judge()
    sources = [(target, mutation.inputs(target, chance)) for target in _targets()]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for target, source in sources:
            for _ in range(100):
                judge(target, next(source))
    print(f"{judge.runs} inputs, nothing found")
    return 0


def _guided(seconds: float, seed: int) -> int:
    """Let libFuzzer run; it ends the process itself."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = _targets()
    words = importlib.import_module("tests.core.eio.fuzz.targets").WORDS
    judge = _Judge()

    def run(data: bytes) -> None:
        if data:
            judge(targets[data[0] % len(targets)], data[1:])

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, target in enumerate(targets):
            for at, example in enumerate(target.examples):
                (corpus / f"{target.name}-{at}").write_bytes(bytes([number]) + example)
        dictionary = Path(folder) / "words"
        lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in words)
        dictionary.write_text("\n".join(lines) + "\n")
        flags = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-dict={dictionary}"]
        flags += ["-max_len=2048", "-timeout=20", "-verbosity=0", "-print_final_stats=1"]
        flags.append(f"-artifact_prefix={tempfile.gettempdir()}/")
        atheris.Setup([sys.argv[0], *flags, str(corpus)], run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
