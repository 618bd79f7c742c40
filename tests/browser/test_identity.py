"""Who one is: guests' names, and tokens where there are no guests."""

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from stretto_server.auth import issue_token
from tests.browser.conftest import Meet, Server

SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has no guests."""
    data = tmp_path_factory.mktemp("strict")
    server = Server(data, "--host", "127.0.0.1", STRETTO_SECRET=SECRET)
    server.start()
    yield server
    server.stop(signal.SIGKILL)


def _token() -> str:
    return issue_token(SECRET, "ada", name="Ada L.", grants={"docs/*": "editor"}, ttl_s=600)


def test_a_new_guest_is_asked_for_a_name(browser: Browser, server: Server) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{server.url}/?doc=new-guest")
        page.locator("#name").fill("Countess")
        page.locator("#name").press("Enter")
        page.locator("#people-summary").click()
        expect(page.locator(".person-name")).to_have_text(["Countess"])
        page.reload()
        expect(page.locator(".avatar").first).to_have_text("C")


def test_a_guest_may_change_the_name(meet: Meet) -> None:
    ada, ben = meet("renamed", "Ada"), meet("renamed", "Ben")
    ada.write("kept")
    ada.page.locator("#people-summary").click()
    ada.page.locator("#rename").click()
    ada.page.locator("#name").fill("Countess")
    ada.context.add_init_script("localStorage.setItem('stretto.name', 'Countess')")
    ada.page.locator("#name").press("Enter")
    expect(ben.page.locator("#people-summary .avatar")).to_have_text(["B", "C"])
    ada.sees("kept")


def test_without_guests_a_token_is_asked_for(browser: Browser, strict_server: Server) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{strict_server.url}/?doc=strict")
        expect(page.locator("#token-dialog")).to_contain_text("stretto token --sub")
        page.locator("#token").fill("nonsense")
        page.locator("#token").press("Enter")
        expect(page.locator("#token-reason")).to_contain_text("not accepted")
        page.locator("#token").fill(_token())
        page.locator("#token").press("Enter")
        expect(page.locator("#people-summary")).to_have_attribute(
            "aria-label", "Only you are here: Ada L."
        )
        expect(page.locator("#status-text")).to_have_text("All changes saved")


def test_a_token_in_the_address_is_used_and_taken_out(
    browser: Browser, strict_server: Server
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{strict_server.url}/?doc=strict#token={_token()}")
        expect(page.locator("#status-text")).to_have_text("All changes saved")
        assert page.url == f"{strict_server.url}/?doc=strict"
