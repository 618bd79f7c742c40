"""Pictures to look at, and what can be checked about looks without looking."""

import pytest

from tests.browser.conftest import SCREENSHOTS, Meet

TEXT = """A small plan for the garden 🌱
Beds along the southern wall: tomatoes, basil, and the two stubborn rosemaries.

Water in the evening, never at noon. Whoever comes first opens the greenhouse.

Still to decide: whether the pear tree stays, and who tells the neighbours."""

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


@pytest.mark.parametrize("look", LOOKS)
def test_a_document_with_two_writers(meet: Meet, look: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    doc = f"garden-{look}"
    ben = meet(doc, "Ben Okafor")
    ben.page.keyboard.insert_text(TEXT)
    ada = meet(doc, "Ada", **LOOKS[look])
    ada.sees(TEXT)
    for _ in range(10):
        ben.press("Control+Shift+ArrowLeft")
    ada.page.wait_for_selector(".stretto-selection")
    ada.reads_status("All changes saved")
    ada.page.screenshot(path=SCREENSHOTS / f"{look}.png")
    width = ada.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    ada.page.locator("#people-summary").click()
    ada.page.screenshot(path=SCREENSHOTS / f"{look}-people.png")
    ada.page.locator("#people-summary").click()
    ada.context.set_offline(True)
    ada.page.locator("#banner").wait_for()
    ada.page.screenshot(path=SCREENSHOTS / f"{look}-offline.png")
