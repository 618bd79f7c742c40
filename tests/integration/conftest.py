"""The servers and raw clients of the server's own tests."""

from tests.server.conftest import connect, serve, server

__all__ = ["connect", "serve", "server"]
