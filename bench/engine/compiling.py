"""Load generators are C: the machine must have a compiler, and each is compiled once."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.server import ROOT

FOLDER: Final = Path(__file__).parent
BINARIES: Final = ROOT / "bench" / "results"
FLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
COMPILE_S: Final = 60.0


def compiled(name: str, sources: Sequence[str], folder: Path = BINARIES) -> Path:
    """Return the program made of C files, by their paths from here, anew where one changed.

    Raises RuntimeError when there is no compiler, or it does not take them.
    """
    program = folder / name
    paths = [FOLDER / source for source in sources]
    headers = [header for path in paths for header in path.parent.glob("*.h")]
    newest = max(path.stat().st_mtime for path in [*paths, *headers])
    if program.exists() and program.stat().st_mtime > newest:
        return program
    folder.mkdir(parents=True, exist_ok=True)
    command = ["cc", *FLAGS, "-o", str(program), *map(str, paths)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_S)
    except FileNotFoundError:
        raise RuntimeError("a C compiler is needed; on Debian: apt-get install -y gcc") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{name} was not compiled:\n{error.stderr}") from error
    return program
