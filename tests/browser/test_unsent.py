"""Edits that a tab could not send survive it, and arrive exactly once."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.browser.conftest import ARGUMENTS, PATIENCE_MS, Server, Writer, chromium_path, token

IS_KEPT = """(text) => new Promise((resolve) => {
  indexedDB.open("stretto/default").onsuccess = ({ target }) => {
    const rows = target.result.transaction("replicas").objectStore("replicas").getAll();
    rows.onsuccess = () => {
      target.result.close();
      resolve(JSON.stringify(rows.result).includes(text));
    };
  };
})"""


def _open(page: Page, url: str) -> Page:
    page.goto(url)
    page.wait_for_selector(".cm-content", timeout=PATIENCE_MS)
    return page


def _status(page: Page, text: str) -> None:
    expect(page.locator("#status-text")).to_have_text(text, timeout=PATIENCE_MS)


def _write_offline(context: BrowserContext, page: Page, text: str) -> None:
    """Go offline, and write until it is kept."""
    context.set_offline(True)
    expect(page.locator("#status-text")).to_have_text(re.compile("^Offline"), timeout=PATIENCE_MS)
    page.keyboard.type(text)
    expect(page.locator("#banner")).to_contain_text(f"{len(text)} edits wait in this browser")
    page.wait_for_function(IS_KEPT, arg=text)


@pytest.fixture
def context(browser: Browser) -> BrowserContext:
    context = browser.new_context()
    context.add_init_script("localStorage.setItem('stretto.name', 'Ada')")
    return context


def test_a_closed_tab_delivers_when_its_document_is_opened(
    context: BrowserContext, server: Server
) -> None:
    with context:
        url = f"{server.url}/?doc=closed"
        page = _open(context.new_page(), url)
        page.keyboard.type("before")
        _status(page, "All changes saved")
        _write_offline(context, page, " offline")
        page.close()
        context.set_offline(False)
        again = _open(context.new_page(), url)
        expect(again.locator(".cm-content")).to_have_text("before offline")
        _status(again, "All changes saved")
        assert server.text("closed") == "before offline"


def test_the_start_page_delivers_and_says_so(context: BrowserContext, server: Server) -> None:
    with context:
        page = _open(context.new_page(), f"{server.url}/?doc=elsewhere")
        page.keyboard.type("Plan")
        _status(page, "All changes saved")
        _write_offline(context, page, " b")
        page.close()
        context.set_offline(False)
        start = context.new_page()
        start.goto(server.url)
        expect(start.locator(".notice")).to_have_text(
            re.compile("What was still unsent in “Plan.*” was delivered"), timeout=PATIENCE_MS
        )
        assert server.text("elsewhere") == "Plan b"


def test_a_killed_browser_delivers_once(
    playwright: Playwright, strict_server: Server, tmp_path: Path
) -> None:
    url = f"{strict_server.url}/?doc=killed-browser#token={token()}"
    for life in range(2):
        process = _start_chromium(tmp_path)
        try:
            address = _devtools(tmp_path)
            browser = playwright.chromium.connect_over_cdp(address)
            context = browser.contexts[0]
            page = _open(context.pages[0] if context.pages else context.new_page(), url)
            if life == 0:
                page.locator(".cm-content").click()
                page.keyboard.type("saved")
                _status(page, "All changes saved")
                _write_offline(context, page, " unsent")
            else:
                expect(page.locator(".cm-content")).to_have_text("saved unsent")
                _status(page, "All changes saved")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert strict_server.text_for("killed-browser", token()) == "saved unsent"


def _start_chromium(profile: Path) -> subprocess.Popen[bytes]:
    """Start a browser that keeps its profile; a process group of its own."""
    (profile / "DevToolsActivePort").unlink(missing_ok=True)
    for lock in profile.glob("Singleton*"):
        lock.unlink()
    options = ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    return subprocess.Popen(
        [chromium_path(), *ARGUMENTS, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _devtools(profile: Path) -> str:
    """Wait until the browser says where it can be driven."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            port = (profile / "DevToolsActivePort").read_text().split()[0]
        except (OSError, IndexError):
            time.sleep(0.05)
        else:
            return f"http://127.0.0.1:{port}"
    pytest.fail("the browser does not start")


def test_two_tabs_of_one_browser_are_two_replicas(context: BrowserContext, server: Server) -> None:
    clients: list[set[str]] = []

    def tab() -> Page:
        page = context.new_page()
        seen: set[str] = set()
        clients.append(seen)
        page.on(
            "websocket",
            lambda socket: socket.on(
                "framesent",
                lambda frame: seen.update(re.findall(r'"client":"([\w-]+)"', str(frame))),
            ),
        )
        return _open(page, f"{server.url}/?doc=twins")

    with context:
        one, two = tab(), tab()
        one.keyboard.type("one ")
        _status(one, "All changes saved")
        Writer(context, two).sees("one ")
        two.keyboard.press("Control+End")
        two.keyboard.type("two")
        Writer(context, one).sees("one two")
    assert len(clients) == 2
    assert all(clients)
    assert not clients[0] & clients[1]
