"""The private names of python-socketio that the engine overrides, checked at the start."""

import inspect
from typing import Final

import socketio

EXPECTED: Final = {
    "_engineio_server_class": ["self"],
    "_handle_connect": ["self", "eio_sid", "namespace", "data"],
    "_handle_disconnect": ["self", "eio_sid", "namespace", "reason"],
    "_handle_event": ["self", "eio_sid", "namespace", "id", "data"],
    "_handle_eio_connect": ["self", "eio_sid", "environ"],
    "_handle_eio_message": ["self", "eio_sid", "data"],
    "_handle_eio_disconnect": ["self", "eio_sid", "reason"],
    "_trigger_event": ["self", "event", "namespace", "args"],
    "_get_event_handler": ["self", "event", "namespace", "args"],
}


def check_socketio(server: type = socketio.AsyncServer) -> None:
    """Raise RuntimeError where python-socketio is not built as the engine needs it."""
    wrong = [
        name
        for name, parameters in EXPECTED.items()
        if not hasattr(server, name)
        or list(inspect.signature(getattr(server, name)).parameters) != parameters
    ]
    if wrong:
        raise RuntimeError(
            "this version of python-socketio is not known to Stretto "
            f"({', '.join(wrong)} differ): install 'python-socketio>=5.18,<6'"
        )
