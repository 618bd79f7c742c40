"""Which pages may connect, as ``cors_allowed_origins`` says."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from stretto_server.engine.origins import Allowed, Origins

PAGE = "https://example.org"
ENVIRON = {"REMOTE_ADDR": "192.0.2.1"}


def request(origin: str | None, method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    origins = {} if origin is None else {"Origin": origin}
    return make_mocked_request(method, "/", {"Host": "example.org:8080", **origins, **named})


def allows(allowed: Allowed, origin: str | None, **headers: str) -> bool:
    origins = Origins(allowed, credentials=True)
    return origins.allows(request(origin, **headers), lambda: ENVIRON)


def test_programs_have_no_origin() -> None:
    settings: list[Allowed] = [None, "*", [], [PAGE], PAGE, lambda origin: False]
    for allowed in settings:
        assert allows(allowed, None)


@pytest.mark.parametrize(
    ("allowed", "origin", "verdict"),
    [
        ("*", "https://anything.example", True),
        (["*"], "null", True),
        ([], "https://anything.example", True),
        ((), "https://anything.example", True),
        (PAGE, PAGE, True),
        (PAGE, PAGE + ".evil", False),
        (PAGE, "https://example", False),
        ([PAGE, "https://other.example"], "https://other.example", True),
        ((PAGE,), PAGE, True),
        ([PAGE], PAGE.upper(), False),
        ([PAGE], "null", False),
        ([PAGE], "", False),
        (None, "http://example.org:8080", True),
        (None, "https://example.org:8080", False),
        (None, "http://example.org", False),
        (None, "null", False),
        (lambda origin: origin == PAGE, PAGE, True),
        (lambda origin: origin == PAGE, "null", False),
        (lambda origin: None, PAGE, False),
        (lambda origin, environ: environ is ENVIRON, PAGE, True),
        (lambda origin, environ: environ["REMOTE_ADDR"] == "::1", PAGE, False),
    ],
)
def test_origins(allowed: Allowed, origin: str, verdict: bool) -> None:
    assert allows(allowed, origin) is verdict


def test_an_environ_is_made_only_for_those_who_want_it() -> None:
    def refuse() -> dict[str, Any]:
        raise AssertionError("nobody asked for it")

    for allowed in (PAGE, None, "*", lambda origin: True):
        assert Origins(allowed, credentials=True).allows(
            request("http://example.org:8080"), refuse
        ) in (True, False)


@pytest.mark.parametrize(
    ("headers", "origin", "verdict"),
    [
        ({"X_Forwarded_Proto": "https"}, "https://example.org:8080", True),
        (
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "public.example"},
            "https://public.example",
            True,
        ),
        ({"X_Forwarded_Host": "public.example, inner"}, "http://public.example", True),
        ({"X_Forwarded_Proto": "https, http"}, "https://example.org:8080", True),
        ({"X_Forwarded_Host": "public.example"}, "http://example.org:8080", True),
        ({"X_Forwarded_Host": "public.example"}, "http://inner", False),
    ],
)
def test_a_page_behind_a_proxy(headers: dict[str, str], origin: str, verdict: bool) -> None:
    assert allows(None, origin, **headers) is verdict


def headers(origins: Origins, asked: Any, *, allowed: bool = True) -> dict[str, str]:
    return origins.headers(asked, allowed=allowed)


def test_headers_of_an_answer() -> None:
    origins = Origins(PAGE, credentials=True)
    assert headers(origins, request(None)) == {}
    assert headers(origins, request(PAGE)) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
    }
    # A cache may not give the refusal of one page to another.
    assert headers(origins, request("null"), allowed=False)["Vary"] == "Origin"
    assert "Access-Control-Allow-Origin" not in headers(origins, request("null"), allowed=False)


def test_headers_of_a_preflight() -> None:
    asked = request(PAGE, "OPTIONS", Access_Control_Request_Headers="X-Token, X-More")
    said = headers(Origins("*", credentials=False), asked)
    assert said["Access-Control-Allow-Methods"] == "OPTIONS, GET, POST"
    assert said["Access-Control-Allow-Headers"] == "X-Token, X-More"
    assert "Access-Control-Allow-Credentials" not in said


def test_an_empty_list_switches_everything_off() -> None:
    assert headers(Origins([], credentials=True), request(PAGE)) == {}


@pytest.mark.parametrize("value", ["\udcff", "é", "a\udcc3b"])
def test_nothing_is_repeated_that_no_browser_would_say(value: str) -> None:
    # aiohttp shows bytes that are no UTF-8 as surrogates, which cannot be written again.
    said = CIMultiDict({"Origin": value, "Access-Control-Request-Headers": value})
    strange: Any = SimpleNamespace(headers=said, method="OPTIONS")
    answer = headers(Origins("*", credentials=True), strange)
    assert value not in answer.values()
    assert answer["Vary"] == "Origin"
