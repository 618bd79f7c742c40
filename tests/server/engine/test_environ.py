"""A handshake, and the environ that python-engineio would have made of it."""

import sys
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp.test_utils import make_mocked_request
from engineio.async_drivers.aiohttp import translate_request

from stretto_server.engine.environ import Handshake

PATH = "/engine.io/?EIO=4&transport=polling&name=%C3%A9"
HEADERS = {
    "Host": "example.org:8080",
    "User-Agent": "a browser",
    "Content-Type": "text/plain",
    "Content-Length": "0",
    "X-Forwarded-Proto": "https",
}


def request(headers: Any = HEADERS, path: str = PATH) -> Any:
    return make_mocked_request("GET", path, headers)


def test_the_environ_is_that_of_python_engineio() -> None:
    original = request()
    ours = Handshake.of(original).environ(original)
    theirs = translate_request(original)
    theirs.pop("wsgi.input")
    assert ours.pop("wsgi.input") is original.content
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    # Theirs are constants, and a query that is decoded cannot be parsed; the values are below.
    assert differing == {"QUERY_STRING", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT"}
    assert unquote(ours["QUERY_STRING"]) == theirs["QUERY_STRING"]
    assert ours["wsgi.errors"] is sys.stderr


def test_what_it_says() -> None:
    environ = Handshake.of(request()).environ()
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["QUERY_STRING"] == "EIO=4&transport=polling&name=%C3%A9"
    assert environ["PATH_INFO"] == "/engine.io/"
    assert environ["RAW_URI"] == PATH
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("example.org", "8080")
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["HTTP_USER_AGENT"] == "a browser"
    assert environ["wsgi.url_scheme"] == "https"


def test_the_request_is_there_only_while_it_goes_on() -> None:
    original = request()
    kept = Handshake.of(original)
    assert kept.environ(original)["aiohttp.request"] is original
    later = kept.environ()
    assert "aiohttp.request" not in later
    assert "wsgi.input" not in later


def test_each_environ_is_a_new_one() -> None:
    kept = Handshake.of(request())
    kept.environ()["HTTP_HOST"] = "changed"
    assert kept.environ()["HTTP_HOST"] == "example.org:8080"


def test_headers_that_come_several_times_are_joined() -> None:
    headers = [("Host", "a"), ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")]
    environ = Handshake.of(request(headers)).environ()
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1,2.2.2.2"


@pytest.mark.parametrize(
    ("headers", "name", "port"),
    [
        ({}, "aiohttp", "0"),
        ({"Host": "example.org"}, "example.org", "0"),
        ({"hOST": "a:1"}, "a", "1"),
    ],
)
def test_where_it_was_sent_to(headers: dict[str, str], name: str, port: str) -> None:
    environ = Handshake.of(request(headers)).environ()
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_bytes_of_any_kind_are_shown() -> None:
    kept = Handshake.of(request())
    strange = Handshake(
        *(kept.method, kept.raw_path, kept.path, kept.query, kept.version, None, kept.scheme),
        headers=((b"X-Strange", b"\xff\xe9"),),
    )
    environ = strange.environ()
    assert environ["HTTP_X_STRANGE"].encode("utf-8", "surrogateescape") == b"\xff\xe9"
    assert environ["REMOTE_ADDR"] == ""
