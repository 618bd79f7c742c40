"""JSON for packets: orjson where it is installed, the standard library for what it refuses.

python-socketio takes this module as its ``json``. orjson refuses lone surrogates, which a
hostile or broken client may send; they must reach the payload checks, which name a code.
"""

import json
from typing import Any, NoReturn

try:
    import orjson
except ImportError:  # the server runs without it, only slower
    orjson = None  # type: ignore[assignment]

JSONDecodeError = json.JSONDecodeError


def dumps(value: Any, **_options: Any) -> str:
    """Return compact JSON; the options of the standard library are ignored."""
    if orjson is not None:
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # lone surrogates, integers beyond 64 bits
            pass
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes, **_options: Any) -> Any:
    """Return the value of JSON text. Raises ValueError for anything else, NaN included."""
    if orjson is not None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
