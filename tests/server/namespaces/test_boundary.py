"""Every malformed payload gets its code, changes nothing, and the connection goes on."""

import asyncio
from typing import Any

import pytest

from stretto_core.protocol import Limits
from stretto_server.namespaces.boundary import Namespace
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import VIEWER, Wire, client_id

FOREIGN = client_id()

MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "seq of a wrong type": ("invalid_request", {"seq": "1"}),
    "seq is a boolean": ("invalid_request", {"seq": True}),
    "seq has a fraction": ("invalid_request", {"seq": 1.5}),
    "seq is zero": ("invalid_request", {"seq": 0}),
    "seq beyond 2^53": ("invalid_request", {"seq": 2**53}),
    "base is negative": ("invalid_request", {"base": -1}),
    "base is null": ("invalid_request", {"base": None}),
    "op is not a list": ("invalid_request", {"op": "text"}),
    "doc is not an id": ("invalid_request", {"doc": "a/../b"}),
    "doc is a number": ("invalid_request", {"doc": 5}),
    "unknown key": ("invalid_request", {"colour": "red"}),
    "lone surrogate outside op": ("invalid_request", {"epoch": "\ud800"}),
    "binary": ("invalid_request", {"op": [b"\x00\x01"]}),
    "foreign client id": ("invalid_request", {"client": FOREIGN}),
    "unopened document": ("not_joined", {"doc": "never-opened"}),
    "epoch of another history": ("epoch_changed", {"epoch": "0" * 16}),
    "sequence gap": ("sequence_gap", {"seq": 3}),
    "base ahead of head": ("version_ahead", {"base": 99}),
    "base below the own last op": ("invalid_request", {"base": 0}),
    "delete past the end": ("invalid_operation", {"op": [-100]}),
    "keep past the end": ("invalid_operation", {"op": [100, "x"]}),
    "lone surrogate in op": ("invalid_operation", {"op": ["\udc00"]}),
    "boolean in op": ("invalid_operation", {"op": [True]}),
    "fraction in op": ("invalid_operation", {"op": [1.5]}),
    "null in op": ("invalid_operation", {"op": [None]}),
    "object in op": ("invalid_operation", {"op": [{"d": 1}]}),
    "number beyond 2^53 in op": ("invalid_operation", {"op": [2**53]}),
    "10,001 components": ("too_large", {"op": [1] * 10_001}),
    "too much inserted": ("too_large", {"op": ["x" * (256 * 1024 + 1)]}),
}


@pytest.mark.parametrize(("code", "changes"), MALFORMED.values(), ids=MALFORMED)
async def test_malformed_submit(
    server: RealtimeServer, connect: Connect, code: str, changes: dict[str, Any]
) -> None:
    wire = await connect()
    paper = await wire.open()
    await paper.submit(["Hello"], 0)

    assert await wire.code("submit", paper.payload(["x"], 1) | changes) == code

    assert await server.documents.read("notes") == "Hello"
    assert await paper.submit([5, "!"], 1) == 2
    assert await server.documents.read("notes") == "Hello!"


@pytest.mark.parametrize(
    "arguments",
    [None, (), ({}, {}), "text", 5, True, [1], b"bytes"],
    ids=["null", "no argument", "two", "text", "number", "boolean", "list", "binary"],
)
async def test_an_event_carries_exactly_one_object(connect: Connect, arguments: Any) -> None:
    wire = await connect()
    given = () if arguments is None else arguments
    assert await wire.code("open", given) == "invalid_request"
    assert await wire.code("submit", given) == "invalid_request"
    await wire.open()


async def test_missing_right_is_forbidden(server: RealtimeServer, connect: Connect) -> None:
    await server.documents.edit("notes", ["Hello"])
    wire = await connect("vera", VIEWER)
    paper = await wire.open()
    assert paper.answer["role"] == "viewer"
    assert await wire.code("submit", paper.payload(["x"], 1)) == "forbidden"
    assert await server.documents.read("notes") == "Hello"


@pytest.mark.parametrize(
    "event", ["connect", "disconnect", "message", "on_connect", "", "__init__"]
)
@pytest.mark.parametrize("namespace", ["/", "/docs"])
async def test_an_event_outside_the_table_reaches_nothing(
    server: RealtimeServer, connect: Connect, event: str, namespace: str
) -> None:
    wire = await connect()
    paper = await wire.open()
    assert await wire.code(event, {"token": "x"}, namespace) == "invalid_request"
    assert await paper.submit(["still here"], 0) == 1


async def test_a_failure_without_ack_callback_is_refused(connect: Connect) -> None:
    wire = await connect()
    paper = await wire.open()
    await wire.sio.emit("submit", paper.payload([9], 0), namespace="/docs")
    refused = await wire.hear("refused")
    assert refused["event"] == "submit"
    assert refused["doc"] == "notes"
    assert refused["seq"] == 1
    assert refused["error"]["code"] == "invalid_operation"


async def test_a_success_without_ack_callback_is_silent(connect: Connect) -> None:
    wire = await connect()
    paper = await wire.open()
    await wire.sio.emit("submit", paper.payload(["x"], 0), namespace="/docs")
    await wire.hear("ops")
    assert wire.events("refused") == []


async def test_an_unexpected_exception_is_logged_once_and_answered(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await connect()

    async def broken(*_arguments: object) -> dict[str, Any]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Namespace, "_handle", broken)
    answer = await wire.call("open", {"doc": "notes", "client": client_id()})
    assert answer["error"]["code"] == "internal_error"
    assert "secret" not in str(answer)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    monkeypatch.undo()
    await wire.open()


async def test_rates_are_limited_per_connection(serve: Serve, connect: Connect) -> None:
    server = await serve(limits=Limits(reads_per_s=5))
    wire = await connect(to=server)
    answers = await asyncio.gather(*(wire.call("close", {"doc": "notes"}) for _ in range(30)))
    codes = [answer["error"]["code"] for answer in answers]
    assert codes[:20] == ["not_joined"] * 20
    assert set(codes[22:]) == {"rate_limited"}
    assert 0 < answers[-1]["error"]["retry_after_ms"] <= 1_000
    await wire.open()


async def test_persistent_abuse_disconnects(serve: Serve, connect: Connect) -> None:
    server = await serve(limits=Limits(reads_per_s=1))
    wire = await connect(to=server)
    for _ in range(600):
        if not wire.sio.connected:
            break
        await wire.sio.emit("close", {"doc": "notes"}, namespace="/docs")
    await wire.closed()


async def test_a_token_is_needed(server: RealtimeServer) -> None:
    for auth in ({"token": "nonsense"}, {"token": 5}, {}, {"tok": "x"}):
        assert await refusal(server, auth) == "unauthenticated"


async def refusal(server: RealtimeServer, auth: Any) -> str:
    """Connect what must be refused; return the CONNECT_ERROR's message."""
    wire = Wire()
    errors: list[Any] = []

    async def refused(data: Any) -> None:
        errors.append(data)

    wire.sio.on("connect_error", refused, namespace="/docs")
    with pytest.raises(Exception, match="namespaces"):
        await wire.sio.connect(
            server.url, auth=auth, namespaces=["/docs"], transports=["websocket"], wait_timeout=2
        )
    await wire.close()
    assert errors[0]["data"]["code"] == errors[0]["message"]
    message: str = errors[0]["message"]
    return message


async def test_an_unknown_namespace_is_named_so(server: RealtimeServer) -> None:
    wire = Wire()
    errors: list[Any] = []

    async def refused(data: Any) -> None:
        errors.append(data)

    wire.sio.on("connect_error", refused, namespace="/elsewhere")
    with pytest.raises(Exception, match="namespaces"):
        await wire.sio.connect(
            server.url,
            auth={"token": "x"},
            namespaces=["/elsewhere"],
            transports=["websocket"],
            wait_timeout=2,
        )
    await wire.close()
    assert errors == [{"message": "Invalid namespace"}]
