"""What a handshake said: kept small, and shown to applications as a WSGI environ."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import web


@lru_cache(500)
def _key(name: bytes) -> str:
    """Return where a header is in an environ (PEP 3333)."""
    key = name.decode("utf-8", "surrogateescape").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request that opened a session, without the objects that served it."""

    method: str
    raw_path: str
    path: str
    query: str
    version: tuple[int, int]
    remote: str | None
    scheme: str
    headers: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, request: web.BaseRequest) -> "Handshake":
        """Keep what an application may ask for later."""
        query = request.raw_path.partition("?")[2]
        return cls(
            request.method,
            request.raw_path,
            request.path,
            query,
            (request.version.major, request.version.minor),
            request.remote,
            request.scheme,
            request.raw_headers,
        )

    def environ(self, request: web.BaseRequest | None = None) -> dict[str, Any]:
        """Return the environ that python-engineio's handlers get.

        ``aiohttp.request`` is in it while the handshake is going on.
        """
        host, _, port = (self._header("Host") or "").partition(":")
        environ: dict[str, Any] = {
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.async": True,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "SERVER_SOFTWARE": "aiohttp",
            "REQUEST_METHOD": self.method,
            "QUERY_STRING": self.query,
            "RAW_URI": self.raw_path,
            "SERVER_PROTOCOL": f"HTTP/{self.version[0]}.{self.version[1]}",
            "REMOTE_ADDR": self.remote or "",
            "REMOTE_PORT": "0",
            "SERVER_NAME": host or "aiohttp",
            "SERVER_PORT": port or "0",
            "PATH_INFO": self.path,
            "SCRIPT_NAME": "",
        }
        if request is not None:
            environ["aiohttp.request"] = request
            environ["wsgi.input"] = request.content
        for raw_name, raw_value in self.headers:
            name = _key(raw_name)
            value = raw_value.decode("utf-8", "surrogateescape")
            if name in environ and name.startswith("HTTP_"):
                value = f"{environ[name]},{value}"
            environ[name] = value
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", self.scheme)
        return environ

    def _header(self, name: str) -> str | None:
        wanted = name.lower().encode()
        for raw_name, value in self.headers:
            if raw_name.lower() == wanted:
                return value.decode("utf-8", "surrogateescape")
        return None
