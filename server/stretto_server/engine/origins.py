"""Which pages may connect, and what their browsers are told ("CORS")."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

Allowed = str | Sequence[str] | Callable[..., bool] | None


class Origins:
    """``cors_allowed_origins`` of python-engineio.

    None allows the page's own origin, ``"*"`` all, an empty list switches the checks off;
    a function takes the origin, or the origin and the environ.
    """

    def __init__(self, allowed: Allowed, *, credentials: bool) -> None:
        self._allowed = allowed
        self._credentials = credentials
        self._any = allowed == "*" or (isinstance(allowed, list | tuple) and "*" in allowed)
        self._off = isinstance(allowed, list | tuple) and not allowed
        self._takes_environ = callable(allowed) and len(inspect.signature(allowed).parameters) > 1

    def allows(self, request: web.BaseRequest, environ: Callable[[], dict[str, Any]]) -> bool:
        """Tell whether a request may come from where it says; programs say nothing."""
        origin = request.headers.get("Origin")
        if origin is None or self._any or self._off:
            return True
        if callable(self._allowed):
            answer = (
                self._allowed(origin, environ()) if self._takes_environ else self._allowed(origin)
            )
            return bool(answer)
        if self._allowed is None:
            return origin in _own_origins(request)
        allowed = (self._allowed,) if isinstance(self._allowed, str) else self._allowed
        return origin in allowed

    def headers(self, request: web.BaseRequest, *, allowed: bool) -> dict[str, str]:
        """Return the CORS headers of an answer; what is not ASCII no browser said."""
        origin = request.headers.get("Origin")
        if self._off or origin is None:
            return {}
        headers = {"Vary": "Origin"}
        if allowed and origin.isascii():
            headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "OPTIONS, GET, POST"
        asked = request.headers.get("Access-Control-Request-Headers")
        if asked is not None and asked.isascii():
            headers["Access-Control-Allow-Headers"] = asked
        if self._credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers


def _own_origins(request: web.BaseRequest) -> set[str]:
    """Return the origins of pages that this server, or the proxy before it, serves."""
    host = request.headers.get("Host", "")
    own = {f"{request.scheme}://{host}"}
    scheme = request.headers.get("X-Forwarded-Proto")
    forwarded = request.headers.get("X-Forwarded-Host")
    if scheme is not None or forwarded is not None:
        scheme = (scheme or request.scheme).partition(",")[0].strip()
        own.add(f"{scheme}://{(forwarded or host).partition(',')[0].strip()}")
    return own
