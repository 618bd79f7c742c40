"""The web page, or how to build it; guests' tokens in development alone."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from stretto_server import page
from stretto_server.app import create_app
from stretto_server.auth import MAX_NAME, TokenVerifier
from stretto_server.settings import Settings
from tests.server.wire import SECRET

Client = TestClient[web.Request, web.Application]

INDEX = '<!doctype html><meta name="n" content="__CSP_NONCE__"><title>é</title>'


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page as the build leaves it."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX, encoding="utf-8")
    (folder / "assets" / "app.js").write_text("hello()")
    (folder / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(page, "page_folder", lambda: folder)
    return folder


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "page_folder", lambda: None)


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings.from_environ(
        {},
        **{
            "secret": SECRET,
            "host": "127.0.0.1",
            "journal": "memory://",
            "data": tmp_path,
            "drain": 0.0,
            **changes,
        },
    )


@pytest.fixture
async def production(aiohttp_client: AiohttpClient, tmp_path: Path) -> Client:
    return await aiohttp_client(create_app(settings(tmp_path)))


@pytest.fixture
async def dev(aiohttp_client: AiohttpClient, tmp_path: Path) -> Client:
    return await aiohttp_client(create_app(settings(tmp_path, dev=True)))


@pytest.mark.usefixtures("unbuilt")
async def test_a_page_that_was_not_built_says_how(
    aiohttp_client: AiohttpClient, tmp_path: Path
) -> None:
    client = await aiohttp_client(create_app(settings(tmp_path)))
    answer = await client.get("/")
    assert answer.status == 200
    assert "make run" in await answer.text()
    assert "Node.js" in await answer.text()


async def test_every_page_has_a_nonce_of_its_own(built: Path, production: Client) -> None:
    nonces = set()
    for _ in range(2):
        answer = await production.get("/")
        text = await answer.text()
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "é" in text
        assert "__CSP_NONCE__" not in text
        nonce = text.partition('content="')[2].partition('"')[0]
        policy = answer.headers["Content-Security-Policy"]
        assert f"'nonce-{nonce}'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        nonces.add(nonce)
    assert len(nonces) == 2


async def test_the_files_of_the_page_are_served(built: Path, production: Client) -> None:
    assert await (await production.get("/assets/app.js")).text() == "hello()"
    assert await (await production.get("/icon.svg")).text() == "<svg/>"
    for path in ("/assets/", "/assets/none.js", "/assets/..%2f..%2fsecret.txt", "/secret.txt"):
        assert (await production.get(path)).status in (403, 404)


def test_the_page_is_found_where_it_was_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stretto_server.page.resources.files", lambda _package: tmp_path)
    assert page.page_folder() is None
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("")
    assert page.page_folder() == tmp_path / "page"


async def test_guests_are_let_in_by_development_alone(production: Client) -> None:
    assert (await production.post("/dev/token")).status == 404


async def guest(client: Client, **options: Any) -> tuple[int, Any]:
    answer = await client.post("/dev/token", **options)
    good = answer.status == 200
    return answer.status, await answer.json() if good else await answer.text()


async def test_a_guest_gets_a_token(dev: Client) -> None:
    status, body = await guest(dev, json={"name": "  Ann "})
    assert status == 200
    who = TokenVerifier(SECRET).verify(body["token"])
    assert who.user.name == "Ann"
    assert who.user.id.startswith("guest-")
    assert set(body) == {"token"}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "Guest"),
        ({"json": {}}, "Guest"),
        ({"json": {"name": None}}, "Guest"),
        ({"json": {"name": " "}}, "Guest"),
        ({"json": []}, "Guest"),
        ({"json": {"name": "x" * 500}}, "x" * MAX_NAME),
    ],
)
async def test_a_guest_has_a_name(dev: Client, options: dict[str, Any], name: str) -> None:
    status, body = await guest(dev, **options)
    assert status == 200
    assert TokenVerifier(SECRET).verify(body["token"]).user.name == name


@pytest.mark.parametrize(
    "options",
    [{"data": b"{"}, {"json": {"name": 5}}, {"data": b"\xff"}, {"data": b"[" * 100_000}],
    ids=["half", "number", "not UTF-8", "too deep"],
)  # fmt: skip
async def test_a_body_that_makes_no_sense_is_a_bad_request(
    dev: Client, options: dict[str, Any]
) -> None:
    assert (await guest(dev, **options))[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9", "Host": "localhost:9"}, 200),
        ({"Origin": "http://localhost:8", "Host": "localhost:9"}, 403),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8080"}, 403),
    ],
    ids=str,
)
async def test_guest_tokens_are_for_pages_of_this_server(
    dev: Client, headers: dict[str, str], status: int
) -> None:
    # A name that its owner points at 127.0.0.1 makes any page look like one of ours; only
    # the name itself tells.
    assert (await guest(dev, headers=headers))[0] == status
