"""Pictures of every view to look at, and what can be checked about looks without looking."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS, Meet, Server, Writer, paste

TEXT = """# A small plan for the garden

Beds along the *southern* wall: **tomatoes**, basil, and the two stubborn rosemaries.

## Still to decide

- [x] whether the pear tree stays
- [ ] who tells the [neighbours](https://example.org)

> Water in the evening, never at noon.

| Bed | Plants |
|-----|--------|
| south | tomatoes, basil |
| wall | rosemary |

```
opens 7:00, closes 19:30
```

Whoever comes first opens the greenhouse."""

LOOKS: dict[str, dict[str, object]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 780},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}
LIST = """() => localStorage.setItem("stretto.documents", JSON.stringify([
  { id: "a", title: "Minutes of the spring meeting", openedAt: Date.now() - 4e6 },
  { id: "b", title: "Seeds to buy, and where the good ones are", openedAt: Date.now() - 2e8 },
]))"""


def _picture(page: Page, name: str) -> None:
    """Take a picture; nothing may be wider than the screen."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]


def _talk(ada: Writer, ben: Writer) -> None:
    """Let both say something, and Ben type on."""
    ben.page.locator("#chat-toggle").click()
    ben.page.locator("#topic").fill("Who waters on Sunday?")
    ben.page.locator("#topic").press("Enter")
    for text in ("Good morning!", "I can do Sunday, but only until the rain comes."):
        ben.page.locator("#chat-text").fill(text)
        ben.page.locator("#chat-text").press("Enter")
    expect(ada.page.locator("#chat-unread")).to_have_text("2")
    ada.page.locator("#chat-toggle").click()
    ada.page.locator("#chat-text").fill("Then I take Monday.")
    ada.page.locator("#chat-text").press("Enter")
    ben.page.locator("#chat-text").press_sequentially("F")
    expect(ada.page.locator("#chat-typing")).to_have_text("Ben Okafor is typing…")


@pytest.mark.parametrize("look", LOOKS)
def test_every_view(meet: Meet, look: str) -> None:
    ben, ada = meet(f"garden-{look}", "Ben Okafor"), meet(f"garden-{look}", "Ada", **LOOKS[look])
    paste(ben.page, TEXT)
    ada.page.evaluate(LIST)
    expect(ada.page.locator("#title")).to_have_text("A small plan for the garden")
    for _ in range(6):
        ben.press("Control+Shift+ArrowLeft")
    ada.page.wait_for_selector(".stretto-selection")
    ada.reads_status("All changes saved")
    ada.page.wait_for_timeout(500)
    _picture(ada.page, look)
    ada.page.locator("#people-summary").click()
    _picture(ada.page, f"{look}-people")
    ada.page.locator("#people-summary").click()
    if look == "phone":
        ada.page.locator("#preview-toggle").click()
        expect(ada.page.locator("#preview h1")).to_be_visible()
        _picture(ada.page, f"{look}-preview")
        ada.page.locator("#preview-toggle").click()
    ada.page.locator("#documents-toggle").click()
    _picture(ada.page, f"{look}-documents")
    ada.press("Escape")
    _talk(ada, ben)
    _picture(ada.page, f"{look}-chat")
    ada.press("Escape")
    ada.context.set_offline(True)
    ada.page.locator("#banner").wait_for()
    ada.page.locator(".cm-content").click()
    ada.page.keyboard.type("!")
    expect(ada.page.locator("#banner")).to_contain_text("1 edit waits")
    _picture(ada.page, f"{look}-offline")


@pytest.mark.parametrize("look", LOOKS)
def test_every_start(browser: Browser, server: Server, strict_server: Server, look: str) -> None:
    with browser.new_context(**LOOKS[look]) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{server.url}/?doc=named")
        page.locator("#name").wait_for()
        _picture(page, f"{look}-name")
        page.locator("#name").press("Enter")
        page.wait_for_selector(".cm-content")
        page.evaluate(LIST)
        page.goto(server.url)
        page.locator(".shelf-link").first.wait_for()
        _picture(page, f"{look}-start")
        page.goto(f"{strict_server.url}/?doc=strict")
        page.locator("#token").wait_for()
        _picture(page, f"{look}-token")
