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


def load_script(package: str, name: str) -> Script:
    """Return the script in the file ``name`` of ``package``.

    Scripts start with a line ``#!lua``; those that only read say so there
    (``flags=no-writes``), which lets Redis run them when its memory is full.
    """
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    shebang = text.partition("\n")[0]
    if not shebang.startswith("#!lua"):
        raise ValueError(f"{name} does not start with #!lua")
    # Redis' name for a script; nothing is secured by it.
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, digest, "no-writes" not in shebang)
