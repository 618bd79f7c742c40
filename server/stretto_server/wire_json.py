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

from stretto_core.eio.socketio import MAX_DEPTH, loads_finite

JSONDecodeError = json.JSONDecodeError

_AS_JSON: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    if orjson is not None
    else 0
)


def dump(value: Any) -> bytes:
    """Return compact JSON as UTF-8, of what the standard library takes and nothing else.

    Raises TypeError for what is not JSON, bytes among it. What is no finite number becomes
    null with orjson, as in JavaScript, and is a ValueError without.
    """
    if orjson is not None:
        try:
            return orjson.dumps(value, option=_AS_JSON)
        except TypeError:  # lone surrogates, integers beyond 64 bits, keys that are no text
            pass
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def dumps(value: Any, **_options: Any) -> str:
    """Return compact JSON; the options of the standard library are ignored."""
    return dump(value).decode()


def parse(text: str) -> Any:
    """Return the value of JSON text.

    Raises ValueError for anything else, NaN and numbers beyond floats included, and
    RecursionError for what is nested too deep to be read.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return loads_finite(text)


def loads(text: str | bytes, **_options: Any) -> Any:
    """Return the value of JSON text.

    Raises ValueError for anything else: NaN, numbers beyond floats, nesting too deep.
    """
    text = text if isinstance(text, str) else text.decode()
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError("JSON nested too deep")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        inner = [one for one in level if isinstance(one, list | dict)]
        if not inner:
            return False
        level = [each for one in inner for each in (one.values() if type(one) is dict else one)]
    return True
