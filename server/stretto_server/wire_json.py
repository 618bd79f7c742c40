"""JSON for packets: orjson where it is installed, the standard library for what it refuses.

python-socketio takes this module as its ``json``. orjson refuses lone surrogates, which a
hostile or broken client may send; they must reach the payload checks, which name a code.
"""

import json
from typing import Any, Final

try:
    import orjson
except ImportError:  # the server runs without it, only slower
    orjson = None  # type: ignore[assignment]

from stretto_core.eio.socketio import loads_finite

JSONDecodeError = json.JSONDecodeError

MAX_DEPTH: Final = 64
"""Deeper lists and objects are refused: what walks through a payload may be recursive."""


def dumps(value: Any, **_options: Any) -> str:
    """Return compact JSON; the options of the standard library are ignored."""
    if orjson is not None:
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # lone surrogates, integers beyond 64 bits
            pass
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes, **_options: Any) -> Any:
    """Return the value of JSON text.

    Raises ValueError for anything else: NaN, numbers beyond floats, nesting too deep.
    """
    value = _parse(text)
    if _may_be_deep(text) and _is_deeper(value, MAX_DEPTH):
        raise ValueError("JSON nested too deep")
    return value


def _parse(text: str | bytes) -> Any:
    if orjson is not None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    try:
        return loads_finite(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def _may_be_deep(text: str | bytes) -> bool:
    """Tell by a count alone; most packets need no closer look."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{") > MAX_DEPTH
    return text.count("[") + text.count("{") > MAX_DEPTH


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        inner = [one for one in level if isinstance(one, list | dict)]
        if not inner:
            return False
        level = [each for one in inner for each in (one.values() if type(one) is dict else one)]
    return True
