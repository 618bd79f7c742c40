"""Two people write one document."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import WATCH_STATUS, Meet, Server, paste


def test_what_both_type_converges(meet: Meet) -> None:
    ada, ben = meet("together", "Ada"), meet("together", "Ben")
    ada.write("Plan 🎼\nfirst")
    ben.sees("Plan 🎼\nfirst")
    ben.press("Control+End")
    ben.write("\nsecond 👩‍🚀")
    ada.write(" line")
    both = "Plan 🎼\nfirst line\nsecond 👩‍🚀"
    ada.sees(both)
    ben.sees(both)
    ben.press("Backspace")
    ada.sees(both.removesuffix("👩‍🚀"))


TYPE_AT_RANDOM = """async ([seed, count]) => {
  const { view } = document.querySelector(".cm-content").cmTile.root;
  const chance = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const pieces = ["a", "bc ", "\\n", "😀", "é", "👩‍🚀", "x".repeat(20)];
  for (let made = 0; made < count; made++) {
    const { length } = view.state.doc;
    const from = Math.floor(chance() * (length + 1));
    const to = chance() < 0.3 ? Math.min(length, from + Math.floor(chance() * 8)) : from;
    const insert = to > from ? "" : pieces[Math.floor(chance() * pieces.length)];
    view.dispatch({ changes: { from, to, insert }, userEvent: "input" });
    if (made % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  window.typed = count;
}"""
WHOLE = "() => document.querySelector('.cm-content').cmTile.root.view.state.doc.toString()"


def test_two_thousand_random_edits_converge(meet: Meet, server: Server) -> None:
    ada, ben = meet("random", "Ada"), meet("random", "Ben")
    for number, writer in enumerate((ada, ben)):
        # Not awaited: both type at once.
        writer.page.evaluate(
            f"(given) => {{ void ({TYPE_AT_RANDOM})(given); }}", [number + 7, 1_000]
        )
    for writer in (ada, ben):
        writer.page.wait_for_function("() => window.typed === 1000")
        writer.reads_status("All changes saved")
    text = server.text("random")
    assert len(text) > 2_000
    for writer in (ada, ben):
        writer.page.wait_for_function(f"(text) => ({WHOLE})() === text", arg=text)


def test_undo_takes_back_only_ones_own(meet: Meet) -> None:
    ada, ben = meet("undo", "Ada"), meet("undo", "Ben")
    ada.write("mine")
    ben.sees("mine")
    ben.press("Control+End")
    ben.write(" yours")
    ada.sees("mine yours")
    ada.press("Control+z")
    ada.sees(" yours")
    ben.sees(" yours")


def test_pasted_line_ends_are_line_feeds(meet: Meet) -> None:
    ada, ben = meet("paste", "Ada"), meet("paste", "Ben")
    paste(ada.page, "one\r\ntwo\rthree")
    ada.sees("one\ntwo\nthree")
    ben.sees("one\ntwo\nthree")


def test_carets_and_selections_carry_names(meet: Meet) -> None:
    ada, ben = meet("carets", "Ada"), meet("carets", "Ben")
    ada.write("one 😀 two")
    ben.sees("one 😀 two")
    label = ben.page.locator(".stretto-caret-label")
    expect(label).to_have_text("Ada")
    expect(label).to_be_visible()
    for _ in range(5):
        ada.press("Shift+ArrowLeft")
    expect(ben.page.locator(".stretto-selection")).to_have_text("😀 two")
    ben.press("Control+Home")
    ben.write("> ")
    expect(ben.page.locator(".stretto-selection")).to_have_text("😀 two")
    expect(ada.page.locator(".stretto-caret-label")).to_have_text("Ben")
    ada.context.close()
    expect(label).to_have_count(0)


def test_the_roster_names_everyone(meet: Meet) -> None:
    ada = meet("roster", "Ada")
    expect(ada.page.locator("#people-summary .avatar")).to_have_count(1)
    meet("roster", "Ben Bird")
    avatars = ada.page.locator("#people-summary .avatar")
    expect(avatars).to_have_text(["A", "BB"])
    ada.page.locator("#people-summary").click()
    expect(ada.page.locator(".person-name")).to_have_text(["Ada", "Ben Bird"])
    expect(ada.page.locator(".you")).to_have_count(1)


def test_saved_is_said_after_saving(meet: Meet) -> None:
    ada = meet("status", "Ada")
    ada.reads_status("All changes saved")
    ada.page.evaluate(WATCH_STATUS)
    ada.write("kept")
    ada.page.wait_for_function("window.statuses.includes('Saving…')")
    ada.reads_status("All changes saved")
    statuses = ada.page.evaluate("window.statuses")
    assert set(statuses) == {"All changes saved", "Saving…"}
    assert meet("status", "Ben").text == "kept"


def test_the_title_is_the_first_line(meet: Meet) -> None:
    ada = meet("title", "Ada")
    expect(ada.page.locator("#title")).to_have_text("Untitled")
    ada.write("# Minutes\nof today")
    expect(ada.page.locator("#title")).to_have_text("Minutes")
    expect(ada.page).to_have_title("Minutes · Stretto")


def test_share_copies_a_link_that_works(meet: Meet) -> None:
    ada = meet("", "Ada", permissions=["clipboard-read", "clipboard-write"])
    ada.write("shared")
    ada.page.locator("#share").click()
    expect(ada.page.locator(".notice")).to_contain_text("Link copied")
    link = ada.page.evaluate("navigator.clipboard.readText()")
    found = re.fullmatch(r"http://127\.0\.0\.1:\d+/\?doc=([a-z]+-[a-z]+-[a-z0-9]{6})", link)
    assert found
    meet(found[1], "Ben").sees("shared")
