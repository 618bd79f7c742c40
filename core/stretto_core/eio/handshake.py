"""What an HTTP request to the Engine.IO path may do: a decision, nothing else.

Engine.IO protocol 4, "Protocol" and "Handshake": ``EIO``, ``transport`` and, once it is
known, ``sid`` are in the query. The order of the checks, the codes and the messages are
those of the reference server (``Server.verify`` of engine.io), whose clients read them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class ErrorCode(IntEnum):
    """The codes of the reference server (``Server.errors``)."""

    UNKNOWN_TRANSPORT = 0
    UNKNOWN_SID = 1
    BAD_HANDSHAKE_METHOD = 2
    BAD_REQUEST = 3
    FORBIDDEN = 4
    UNSUPPORTED_PROTOCOL_VERSION = 5


_MESSAGES: Final = {
    ErrorCode.UNKNOWN_TRANSPORT: "Transport unknown",
    ErrorCode.UNKNOWN_SID: "Session ID unknown",
    ErrorCode.BAD_HANDSHAKE_METHOD: "Bad handshake method",
    ErrorCode.BAD_REQUEST: "Bad request",
    ErrorCode.FORBIDDEN: "Forbidden",
    ErrorCode.UNSUPPORTED_PROTOCOL_VERSION: "Unsupported protocol version",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer with ``status`` and ``body`` (``application/json``); nothing else happens."""

    code: ErrorCode
    hint: str = ""

    @property
    def status(self) -> int:
        """The reference server answers 403 to what it forbids, else 400."""
        return 403 if self.code is ErrorCode.FORBIDDEN else 400

    @property
    def body(self) -> bytes:
        """The error object ``{code, message}``."""
        message = _MESSAGES[self.code] + self.hint
        return json.dumps({"code": int(self.code), "message": message}).encode()


class Transport(Enum):
    """The transports of protocol 4 that are served; the value is that of the query."""

    POLLING = "polling"
    WEBSOCKET = "websocket"


_TRANSPORTS: Final = {each.value: each for each in Transport}


class Step(Enum):
    """What the request does; with a sid, the session decides what becomes of it."""

    OPEN_POLLING = "open a session and answer its handshake"
    OPEN_WEBSOCKET = "accept the WebSocket and open a session on it"
    POLL = "Session.poll"
    POST = "Session.begin_post, then Session.post with the whole body"
    ATTACH_WEBSOCKET = "accept the WebSocket, then Session.attach"


@dataclass(frozen=True, slots=True)
class Request:
    """A request: ``upgrade`` tells whether its headers ask for a WebSocket.

    ``query`` holds the first value of each key.
    """

    method: str
    query: Mapping[str, str]
    upgrade: bool = False


def decide(
    request: Request,
    session: Transport | None,
    *,
    transports: frozenset[Transport] = frozenset(Transport),
    allowed: bool = True,
) -> Step | Refusal:
    """Return what to do with a request.

    ``session`` is the transport of the session that the query's sid names, None when there
    is no such session. ``allowed`` is the server's own opinion of a handshake: origin,
    address, drain. Preflight requests (OPTIONS) are answered before.
    """
    transport = _transport(request.query.get("transport"))
    if transport not in transports:
        # "transport" is mandatory, so a missing one is unknown.
        names = ", ".join(sorted(each.value for each in transports))
        hint = f": only {names} is served here" if transport is not None else ""
        return Refusal(ErrorCode.UNKNOWN_TRANSPORT, hint)
    # A browser's `sid=` is no sid to the reference server.
    if request.query.get("sid"):
        return _continue(request, transport, session)
    return _handshake(request, transport, allowed)


def _transport(name: str | None) -> Transport | None:
    return _TRANSPORTS.get(name) if name is not None else None


def _handshake(request: Request, transport: Transport, allowed: bool) -> Step | Refusal:
    """Decide a request without sid. "Handshake": a GET with ``EIO=4``."""
    if request.method != "GET":
        return Refusal(ErrorCode.BAD_HANDSHAKE_METHOD)
    if request.upgrade is not (transport is Transport.WEBSOCKET):
        return Refusal(ErrorCode.BAD_REQUEST)
    if not allowed:
        return Refusal(ErrorCode.FORBIDDEN)
    if request.query.get("EIO") != "4":
        return Refusal(ErrorCode.UNSUPPORTED_PROTOCOL_VERSION)
    return Step.OPEN_WEBSOCKET if request.upgrade else Step.OPEN_POLLING


def _continue(request: Request, transport: Transport, session: Transport | None) -> Step | Refusal:
    """Decide a request with a sid: "HTTP long-polling" and "Upgrade"."""
    if session is None:
        return Refusal(ErrorCode.UNKNOWN_SID)
    if request.upgrade:
        # A session that has its WebSocket takes this one only to close it: Session.attach.
        fits = transport is Transport.WEBSOCKET and request.method == "GET"
        return Step.ATTACH_WEBSOCKET if fits else Refusal(ErrorCode.BAD_REQUEST)
    if transport is not Transport.POLLING or session is not Transport.POLLING:
        # "Upgrade": HTTP requests of an upgraded session are refused.
        return Refusal(ErrorCode.BAD_REQUEST)
    steps = {"GET": Step.POLL, "POST": Step.POST}
    return steps.get(request.method, Refusal(ErrorCode.BAD_REQUEST))
