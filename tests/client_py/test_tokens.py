"""The token: providers that fail, hang and return one token for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stretto_client.tokens import PROVIDER_S, Tokens
from stretto_core.errors import Forbidden, Unauthenticated, Unavailable
from tests.client_py.scripted import settle, warp_time


class Server:
    """Takes tokens; each lives as long as the test says."""

    def __init__(self, ttl_s: float = 100.0) -> None:
        self.ttl_s = ttl_s
        self.given: list[tuple[float, str]] = []
        self.errors: list[Exception] = []
        self.renewed = 0
        self.start = asyncio.get_running_loop().time()

    async def give(self, token: str) -> float:
        now = asyncio.get_running_loop().time() - self.start
        self.given.append((round(now, 1), token))
        if self.errors:
            raise self.errors.pop(0)
        return self.ttl_s

    def note(self) -> None:
        self.renewed += 1


def numbered() -> Callable[[], str]:
    numbers = iter(range(1, 1_000))
    return lambda: f"token-{next(numbers)}"


@pytest.fixture(autouse=True)
async def _warped() -> None:
    warp_time(asyncio.get_running_loop())


async def run(tokens: Tokens, server: Server, ttl_s: float, for_s: float) -> None:
    keeping = asyncio.ensure_future(tokens.keep(ttl_s, server.give, server.note))
    await asyncio.sleep(for_s)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_provider_may_be_plain_or_async() -> None:
    async def fetch() -> str:
        return "async"

    assert await Tokens("fixed").fetch() == "fixed"
    assert await Tokens(lambda: "plain").fetch() == "plain"
    assert await Tokens(fetch).fetch() == "async"
    assert Tokens(fetch).can_renew
    assert not Tokens("fixed").can_renew


async def test_a_provider_that_fails_may_be_tried_again() -> None:
    def fail() -> str:
        raise OSError("no network")

    with pytest.raises(Unavailable, match="no network"):
        await Tokens(fail).fetch()


async def test_a_provider_may_end_it_with_an_error_of_ours() -> None:
    def fail() -> str:
        raise Forbidden("signed out")

    with pytest.raises(Forbidden, match="signed out"):
        await Tokens(fail).fetch()


async def test_a_provider_that_returns_no_token_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        await Tokens(lambda: None).fetch()  # type: ignore[arg-type,return-value]


async def test_a_provider_that_hangs_is_given_up() -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    started = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="too long"):
        await Tokens(hang).fetch()
    assert asyncio.get_running_loop().time() - started == pytest.approx(PROVIDER_S, abs=1)


async def test_tokens_are_renewed_before_they_expire() -> None:
    server = Server()
    await run(Tokens(numbered(), rand=lambda: 0.5), server, 100.0, 160.0)
    assert server.given == [(75.0, "token-1"), (150.0, "token-2")]
    assert server.renewed == 2


async def test_a_refusal_renews_at_once_and_only_once() -> None:
    server, tokens = Server(), Tokens(numbered())
    keeping = asyncio.ensure_future(tokens.keep(1_000.0, server.give, server.note))
    await settle()
    for _ in range(5):
        tokens.refused()
    await settle()
    assert [token for _, token in server.given] == ["token-1"]
    keeping.cancel()


async def test_what_fails_is_tried_again_but_not_faster_and_faster() -> None:
    server = Server()
    server.errors = [Unavailable(retry_after_ms=0)] * 3
    tokens = Tokens(numbered(), rand=lambda: 0.0)
    refusing = asyncio.get_running_loop().call_later(80.5, tokens.refused)
    await run(tokens, server, 100.0, 90.0)
    assert [when for when, _ in server.given] == [80.0, 81.0, 82.0, 83.0]
    assert server.renewed == 1
    refusing.cancel()


async def test_a_provider_with_one_token_until_it_expires_is_not_asked_ever_faster() -> None:
    server, tokens = Server(), Tokens(lambda: "cached", rand=lambda: 0.0)
    end = server.start + 10.0

    async def give(token: str) -> float:
        await server.give(token)
        return max(0.0, end - asyncio.get_running_loop().time())

    keeping: Awaitable[None] = asyncio.ensure_future(tokens.keep(10.0, give, server.note))
    await asyncio.sleep(10.0)
    keeping.cancel()  # type: ignore[attr-defined]
    assert len(server.given) <= 5


async def test_a_fixed_token_is_never_renewed() -> None:
    server, tokens = Server(), Tokens("fixed")
    tokens.refused()
    await tokens.keep(1.0, server.give, server.note)
    assert server.given == []
