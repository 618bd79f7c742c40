"""Who one is: guests' names, and tokens where there are no guests."""

from playwright.sync_api import Browser, expect

from tests.browser.conftest import Meet, Server, token


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
        page.locator("#token").fill(token())
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
        page.goto(f"{strict_server.url}/?doc=strict#token={token()}")
        expect(page.locator("#status-text")).to_have_text("All changes saved")
        assert page.url == f"{strict_server.url}/?doc=strict"


def test_a_token_that_expires_while_typing_loses_nothing(
    browser: Browser, strict_server: Server
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{strict_server.url}/?doc=expiring#token={token(ttl_s=4)}")
        page.wait_for_selector(".cm-content")
        asking = page.locator(".notice.asking")
        typed = 0
        while not asking.is_visible():
            page.keyboard.type("ab")
            typed += 2
        page.keyboard.type("after")
        expect(page.locator("#status-text")).not_to_have_text("All changes saved")
        page.evaluate("(token) => { location.hash = `token=${token}`; }", token())
        expect(asking).to_have_count(0)
        expect(page.locator("#status-text")).to_have_text("All changes saved", timeout=15_000)
        assert strict_server.text_for("expiring", token()) == "ab" * (typed // 2) + "after"
        assert "token" not in page.url


def test_an_expired_token_is_asked_for_again(browser: Browser, strict_server: Server) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{strict_server.url}/?doc=strict#token={token(ttl_s=-5)}")
        expect(page.locator("#token-reason")).to_contain_text("expired")
        page.locator("#token").fill(token())
        page.locator("#token").press("Enter")
        expect(page.locator("#status-text")).to_have_text("All changes saved")
