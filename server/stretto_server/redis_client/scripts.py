"""Lua scripts that come with a package, known to Redis by their hash."""

from dataclasses import dataclass
from hashlib import sha1
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """One script. ``writes`` says whether its outcome matters when no reply comes."""

    text: str
    sha: str
    writes: bool


def load_text(package: str, name: str) -> str:
    """Return what is in the file ``name`` of ``package``."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def load_script(package: str, name: str, *, functions: str = "") -> Script:
    """Return the script in the file ``name`` of ``package``, behind ``functions`` that it uses.

    Scripts start with a line ``#!lua``; those that only read say so there
    (``flags=no-writes``), which lets Redis run them when its memory is full.
    """
    shebang, _, body = load_text(package, name).partition("\n")
    if not shebang.startswith("#!lua"):
        raise ValueError(f"{name} does not start with #!lua")
    text = f"{shebang}\n{functions}{body}"
    # Redis' name for a script; nothing is secured by it.
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, digest, "no-writes" not in shebang)
