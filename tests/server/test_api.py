"""HTTP for operators: what it answers, to whom, and that editors follow."""

from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from stretto_core.protocol import Limits
from stretto_server.documents import Documents
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import OWNER, VIEWER, token


async def call(
    server: RealtimeServer,
    method: str,
    doc: str = "notes",
    bearer: str | None = "owner",
    path: str = "/api/docs/",
    **options: Any,
) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer."""
    known = {
        "owner": OWNER,
        "viewer": VIEWER,
        "editor": {"docs/*": "editor"},
        "nobody": {"x": "owner"},
    }
    headers = options.pop("headers", {})
    if bearer is not None:
        headers["Authorization"] = f"Bearer {token(grants=known[bearer])}"
    async with (
        ClientSession() as session,
        session.request(method, server.url + path + doc, headers=headers, **options) as answer,
    ):
        body: dict[str, Any] = await answer.json()
        assert body["ok"] is (answer.status == 200)
        return answer.status, body


async def test_a_document_is_shown_replaced_and_deleted(server: RealtimeServer) -> None:
    assert await server.documents.edit("notes", ["Hello 😀"]) == 1
    status, shown = await call(server, "GET", bearer="viewer")
    assert (status, shown["text"], shown["version"]) == (200, "Hello 😀", 1)
    assert len(shown["hash"]) == 16

    status, replaced = await call(server, "PUT", json={"text": "anew"})
    assert (status, replaced["version"]) == (200, 1)
    assert replaced["epoch"] != shown["epoch"]
    assert await server.documents.read("notes") == "anew"

    assert await call(server, "DELETE") == (200, {"ok": True, "deleted": True})
    assert await call(server, "DELETE") == (200, {"ok": True, "deleted": False})
    status, gone = await call(server, "GET")
    assert (status, gone["error"]["code"]) == (404, "not_found")


async def test_ids_with_slashes_are_ids(server: RealtimeServer) -> None:
    assert (await call(server, "PUT", "a/b~c/d:e", json={"text": "x"}))[0] == 200
    assert (await call(server, "GET", "a%2Fb~c%2Fd:e"))[1]["text"] == "x"


@pytest.mark.parametrize("doc", ["a//b", "a/%2e%2e/b", "%20", "x" * 201, "a%00", "%ff", "a/"])
async def test_what_is_no_id_is_an_invalid_request(server: RealtimeServer, doc: str) -> None:
    headers = {"Authorization": f"Bearer {token(grants=OWNER)}"}
    url = URL(f"{server.url}/api/docs/{doc}", encoded=True)
    async with ClientSession() as session, session.get(url, headers=headers) as answer:
        body = await answer.json()
        assert (answer.status, body["error"]["code"]) == (400, "invalid_request")


RIGHTS = [
    (None, 401, 401, 401),
    ("nobody", 404, 404, 404),
    ("viewer", 200, 403, 403),
    ("editor", 200, 403, 403),
    ("owner", 200, 200, 200),
]


@pytest.mark.parametrize(("who", "get", "put", "delete"), RIGHTS)
async def test_who_may(
    server: RealtimeServer, who: str | None, get: int, put: int, delete: int
) -> None:
    await server.documents.edit("notes", ["Hello"])
    assert (await call(server, "GET", bearer=who))[0] == get
    assert (await call(server, "PUT", bearer=who, json={"text": "x"}))[0] == put
    assert (await call(server, "DELETE", bearer=who))[0] == delete


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer nonsense", "é"])
async def test_a_bad_token_is_unauthenticated(server: RealtimeServer, header: str) -> None:
    status, body = await call(server, "GET", bearer=None, headers={"Authorization": header})
    assert (status, body["error"]["code"]) == (401, "unauthenticated")


async def test_the_scheme_is_not_case_sensitive(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["x"])
    headers = {"Authorization": f"bearer {token()}"}
    assert (await call(server, "GET", bearer=None, headers=headers))[0] == 200


async def test_an_expired_token_says_so(server: RealtimeServer) -> None:
    headers = {"Authorization": f"Bearer {token(ttl_s=-5)}"}
    status, body = await call(server, "GET", bearer=None, headers=headers)
    assert (status, body["error"]["code"]) == (401, "token_expired")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "invalid_request"),
        ({"data": b"{"}, "invalid_request"),
        ({"data": b"\xff\xfe"}, "invalid_request"),
        ({"json": []}, "invalid_request"),
        ({"json": {}}, "invalid_request"),
        ({"json": {"text": 5}}, "invalid_request"),
        ({"data": b'{"text": "a\\ud800"}'}, "invalid_operation"),
        ({"data": b"[" * 1_000}, "invalid_request"),
        ({"json": {"text": "x" * 101}}, "too_large"),
        ({"json": {"text": "x" * 3_000}}, "too_large"),
    ],
    ids=["none", "half", "bytes", "list", "no text", "number", "surrogate", "deep", "long", "huge"],
)
async def test_a_bad_body_changes_nothing(serve: Serve, options: dict[str, Any], code: str) -> None:
    server = await serve(limits=Limits(document_chars=100))
    await server.documents.edit("notes", ["Hello"])
    status, body = await call(server, "PUT", **options)
    assert body["error"]["code"] == code
    assert status == (413 if code == "too_large" else 400)
    assert await server.documents.read("notes") == "Hello"


async def test_whatever_fits_a_document_fits_a_body(serve: Serve) -> None:
    server = await serve(limits=Limits(document_chars=5_000))
    text = "😀" * 5_000  # twelve bytes each, where a client escapes them
    assert (await call(server, "PUT", json={"text": text}))[0] == 200
    assert await server.documents.read("notes") == text


async def test_an_unexpected_failure_tells_nothing(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_self: Documents, _doc: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Documents, "state", broken)
    status, body = await call(server, "GET")
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "secret" not in str(body)
    assert "secret detail" in caplog.text


async def test_editors_follow_what_operators_do(server: RealtimeServer, connect: Connect) -> None:
    wire = await connect()
    paper = await wire.open()
    await paper.submit(["Hello"], 0)
    _, replaced = await call(server, "PUT", json={"text": "anew"})
    reset = await wire.hear("reset")
    assert (reset["doc"], reset["epoch"]) == ("notes", replaced["epoch"])
    await call(server, "DELETE")
    closed = await wire.hear("closed")
    assert (closed["doc"], closed["error"]["code"]) == ("notes", "not_found")
