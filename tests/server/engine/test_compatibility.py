"""The engine says so at once when python-socketio is built in another way."""

from typing import Any

import pytest
import socketio

from stretto_server.engine import compatibility
from stretto_server.engine.compatibility import EXPECTED, check_socketio
from stretto_server.engine.socket_server import SocketServer


def test_the_installed_version_fits() -> None:
    check_socketio()


def test_a_name_that_is_missing() -> None:
    class Newer:
        """A server without any of the names."""

    with pytest.raises(RuntimeError, match=r"python-socketio>=5\.18,<6") as refused:
        check_socketio(Newer)
    for name in EXPECTED:
        assert name in str(refused.value)


def test_a_parameter_that_is_new() -> None:
    class Newer(socketio.AsyncServer):  # type: ignore[misc]
        async def _handle_event(
            self, eio_sid: Any, namespace: Any, id: Any, data: Any, x: Any
        ) -> None:
            """Take one argument more."""

    with pytest.raises(RuntimeError, match=r"\(_handle_event differ\)"):
        check_socketio(Newer)


def test_a_server_checks_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compatibility.EXPECTED, "_handle_event", ["self"])
    with pytest.raises(RuntimeError, match="_handle_event"):
        SocketServer()


@pytest.mark.parametrize("name", [name for name in EXPECTED if name in vars(SocketServer)])
def test_what_is_overridden_here_is_known_there(name: str) -> None:
    assert hasattr(socketio.AsyncServer, name)
