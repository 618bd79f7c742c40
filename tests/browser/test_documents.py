"""The list of documents, the preview, and the chat beside the text."""

import json
import re

from playwright.sync_api import expect

from tests.browser.conftest import Meet, Server, paste

HOSTILE = [
    "<img src=x onerror=hacked=1>",
    '"><svg onload=hacked=1></svg>',
    "<script>hacked=1</script>",
    "[x](javascript:hacked=1) ![x](https://example.invalid/x.png)",
    "\u202egnp.exe\u202c {{7*7}} ${hacked=1} %3Cscript%3E",
]
# Everything that a hostile text could have become; the page's own images are in its bar.
INJECTED = ", ".join(
    f"{place} {made}"
    for place in (".workspace", ".people", ".notices", ".title")
    for made in ("img:not(.cm-widgetBuffer)", "script", "svg[onload]", "iframe", "a[href^='java']")
)


def test_the_list_has_what_was_opened(meet: Meet, server: Server) -> None:
    ada = meet("first", "Ada")
    ada.write("# First plan")
    ada.reads_status("All changes saved")
    ada.page.goto(f"{server.url}/?doc=second")
    ada.page.wait_for_selector(".cm-content")
    ada.write("Second plan")
    ada.reads_status("All changes saved")
    ada.page.locator("#documents-toggle").click()
    expect(ada.page.locator("#documents-new")).to_be_focused()
    titles = ada.page.locator(".shelf-title")
    expect(titles).to_have_text(["Second plan", "First plan"])
    ada.press("Tab", "ArrowDown", "Enter")
    expect(ada.page.locator("#title")).to_have_text("First plan")
    ada.page.locator(".brand").click()
    expect(titles).to_have_text(["First plan", "Second plan"])
    ada.page.get_by_label("Remove “Second plan” from this list").click()
    expect(titles).to_have_text(["First plan"])
    ada.page.get_by_role("link", name="New document").click()
    ada.page.wait_for_selector(".cm-content")
    assert re.search(r"\?doc=[a-z]+-[a-z]+-\w{6}$", ada.page.url)


def test_many_documents_can_be_searched(meet: Meet, server: Server) -> None:
    ada = meet("searched", "Ada")
    listed = [{"id": f"d{n}", "title": f"Plan {n}", "openedAt": n} for n in range(12)]
    ada.page.evaluate(
        "(list) => localStorage.setItem('stretto.documents', list)", json.dumps(listed)
    )
    ada.page.goto(server.url)
    ada.page.get_by_label("Search your documents").fill("plan 11")
    expect(ada.page.locator(".shelf-title")).to_have_text(["Plan 11"])


def test_the_preview_follows_the_text(meet: Meet) -> None:
    ada = meet("preview", "Ada", viewport={"width": 1280, "height": 800})
    paste(ada.page, "# Plan\n\n- [x] *done*\n\n[link](https://example.org)\n")
    preview = ada.page.get_by_role("region", name="Preview")
    expect(preview.locator("h1")).to_have_text("Plan")
    expect(preview.locator("li em")).to_have_text("done")
    expect(preview.locator("input")).to_be_checked()
    expect(preview.get_by_role("link")).to_have_attribute("rel", re.compile("noopener"))
    ada.page.get_by_role("button", name="Preview").click()
    expect(preview).to_be_hidden()
    ada.page.set_viewport_size({"width": 390, "height": 780})
    ada.page.get_by_role("button", name="Preview").click()
    expect(preview.locator("h1")).to_be_visible()
    expect(ada.page.locator(".cm-content")).to_be_hidden()


def test_a_long_document_is_previewed_where_it_is_read(meet: Meet) -> None:
    ada = meet("long", "Ada", viewport={"width": 1280, "height": 800})
    paste(ada.page, "".join(f"Paragraph **{n}**\n\n" for n in range(20_000)))
    ada.press("Control+Home")
    strong = ada.page.locator("#preview strong")
    expect(strong.first).to_have_text("0", timeout=10_000)
    assert strong.count() < 4_000
    ada.press("Control+End")
    expect(strong.last).to_have_text("19999", timeout=10_000)


def test_people_talk_beside_the_document(meet: Meet) -> None:
    ada, ben = meet("talk", "Ada"), meet("talk", "Ben")
    ada.page.get_by_role("button", name="Chat").click()
    text = ada.page.get_by_role("textbox", name="Message")
    expect(text).to_be_focused()
    expect(ada.page.locator("#chat-members li")).to_have_text(["You", "Ben"])
    text.fill("Hello Ben")
    text.press("Enter")
    expect(ben.page.get_by_role("button", name="Chat, 1 unread")).to_be_visible()
    ben.page.locator("#chat-toggle").click()
    expect(ben.page.locator(".said")).to_have_text(["Hello Ben"])
    expect(ben.page.locator(".author")).to_have_text(["Ada"])
    ben.page.locator("#chat-text").press_sequentially("He")
    expect(ada.page.locator("#chat-typing")).to_have_text("Ben is typing…")
    ben.page.locator("#chat-text").press("Enter")
    expect(ada.page.locator(".said")).to_have_text(["Hello Ben", "He"])
    expect(ada.page.locator("#chat-typing")).to_have_text("")
    ben.page.keyboard.press("Escape")
    expect(ben.page.locator("#chat-toggle")).to_be_focused()


def test_a_topic_that_two_set_is_not_overwritten_unseen(meet: Meet) -> None:
    ada, ben = meet("topic", "Ada"), meet("topic", "Ben")
    for writer in (ada, ben):
        writer.page.locator("#chat-toggle").click()
        expect(writer.page.locator("#chat-members li")).to_have_count(2)
    ada.page.locator("#topic").focus()
    ben.page.locator("#topic").fill("Soup")
    ben.page.locator("#topic").press("Enter")
    expect(ben.page.locator("#topic-note")).to_have_text("Topic set.")
    ada.page.locator("#topic").fill("Salad")
    ada.page.locator("#topic").press("Enter")
    expect(ada.page.locator("#topic-note")).to_contain_text("Somebody set the topic to “Soup”")
    ada.page.locator("#topic").press("Enter")
    expect(ben.page.locator("#topic")).to_have_value("Salad")


def test_hostile_texts_stay_texts(meet: Meet) -> None:
    mallory, ada = meet("hostile", HOSTILE[0]), meet("hostile", "Ada")
    paste(mallory.page, "\n\n".join(HOSTILE))
    expect(ada.page.locator("#title")).to_have_text(HOSTILE[0])
    expect(ada.page.locator(".stretto-caret-label")).to_have_text(HOSTILE[0])
    ada.page.locator("#people-summary").click()
    expect(ada.page.locator(".person-name").last).to_have_text(HOSTILE[0])
    for writer in (mallory, ada):
        writer.page.locator("#chat-toggle").click()
        expect(writer.page.locator("#chat-members li")).to_have_count(2)
    mallory.page.locator("#topic").fill(HOSTILE[1])
    mallory.page.locator("#topic").press("Enter")
    for text in HOSTILE:
        mallory.page.locator("#chat-text").fill(text)
        mallory.page.locator("#chat-text").press("Enter")
    expect(ada.page.locator("#topic")).to_have_value(HOSTILE[1])
    expect(ada.page.locator(".said")).to_have_text(HOSTILE)
    expect(ada.page.locator("#chat-members li").last).to_have_text(HOSTILE[0])
    ada.page.locator("#documents-toggle").click()
    expect(ada.page.locator(".shelf-title").first).to_have_text(HOSTILE[0])
    expect(ada.page.locator("#preview")).to_contain_text("hacked=1")
    for writer in (mallory, ada):
        assert writer.page.locator(INJECTED).count() == 0
        assert writer.page.evaluate("window.hacked") is None
