"""A real server and real browsers. ``make test`` builds the page and installs what they need."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from stretto_server.auth import issue_token

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000
SECRET = "a secret of at least thirty-two bytes"

TEXT = """() => [...document.querySelectorAll(".cm-line")].map((line) => {
  const copy = line.cloneNode(true);
  for (const extra of copy.querySelectorAll(".stretto-caret, .cm-placeholder")) extra.remove();
  return copy.textContent;
}).join("\\n")"""

PASTE = """(text) => {
  const data = new DataTransfer();
  data.setData("text/plain", text);
  const paste = new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
  document.querySelector(".cm-content").dispatchEvent(paste);
}"""

WATCH_STATUS = """() => {
  const text = document.querySelector("#status-text");
  window.statuses = [text.textContent];
  new MutationObserver(() => window.statuses.push(text.textContent))
    .observe(text, { childList: true, characterData: true, subtree: true });
}"""


class Server:
    """A server in a process of its own, which may be killed and started again."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.data = data
        self.options = options
        self.environment = {**os.environ, **environment, "STRETTO_DATA": str(data)}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "stretto_server", "serve", *self.options]
        log = (self.data / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 15
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.data / "server.log").read_text()
                pytest.fail(f"the server does not start:\n{log_text[-2_000:]}", pytrace=False)
            time.sleep(0.05)

    def stop(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def text(self, doc: str) -> str:
        """Return the text that the server has, as a guest may read it."""
        with urllib.request.urlopen(f"{self.url}/dev/token", data=b"{}", timeout=5) as answer:
            token = json.load(answer)["token"]
        return self.text_for(doc, token)

    def text_for(self, doc: str, token: str) -> str:
        """Return the text that the server has, as the bearer of ``token`` may read it."""
        request = urllib.request.Request(
            f"{self.url}/api/docs/{doc}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(json.load(answer)["text"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Writer:
    """One person with a browser of their own."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page

    def write(self, text: str) -> None:
        """Type at the caret; what no key stands for goes in as an input method sends it."""
        editor = self.page.locator(".cm-content")
        if not editor.evaluate("(element) => element.contains(document.activeElement)"):
            editor.click()
        for number, line in enumerate(text.split("\n")):
            if number:
                self.page.keyboard.press("Enter")
            if line.isascii():
                self.page.keyboard.type(line)
            else:
                self.page.keyboard.insert_text(line)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def text(self) -> str:
        return str(self.page.evaluate(TEXT))

    def sees(self, text: str) -> None:
        """Wait until the editor shows exactly ``text``."""
        script = f"(text) => ({TEXT})() === text"
        try:
            self.page.wait_for_function(script, arg=text, timeout=PATIENCE_MS)
        except Exception:
            assert self.text == text
            raise

    def reads_status(self, text: str) -> None:
        expect(self.page.locator("#status-text")).to_have_text(text, timeout=PATIENCE_MS)


Meet = Callable[..., Writer]


def watch_errors(page: Page, errors: list[str]) -> None:
    """Collect what scripts throw, and what the content security policy forbids."""

    def hear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", hear)


def paste(page: Page, text: str) -> None:
    """Paste at the caret: the quick way to bring much text in."""
    page.evaluate(PASTE, text)


def running(data: Path, *options: str, **environment: str) -> Iterator[Server]:
    """Run a server while a fixture is in use."""
    if not (ROOT / "server/stretto_server/page/index.html").is_file():
        pytest.fail("the page is not built: run `make test`, which builds it", pytrace=False)
    server = Server(data, *options, **environment)
    server.start()
    yield server
    server.stop(signal.SIGKILL)


def chromium_path() -> str:
    """Return where the browser is."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("no chromium: run `make test`, which installs it", pytrace=False)
    return chromium


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with guests, which nobody stops."""
    yield from running(tmp_path_factory.mktemp("server"), "--dev")


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has no guests."""
    data = tmp_path_factory.mktemp("strict")
    yield from running(data, "--host", "127.0.0.1", STRETTO_SECRET=SECRET)


def token(ttl_s: float = 600, name: str = "Ada L.") -> str:
    """Return a token for the server that has no guests."""
    grants = {"docs/*": "editor", "rooms/*": "editor"}
    return issue_token(SECRET, "ada", name=name, grants=grants, ttl_s=ttl_s)


@pytest.fixture
def meet(browser: Browser, server: Server) -> Iterator[Meet]:
    """Return a function that opens a document in a new browser, as somebody."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(doc: str, name: str = "Ada", **options: object) -> Writer:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        context.add_init_script(f"localStorage.setItem('stretto.name', {name!r})")
        page = context.new_page()
        watch_errors(page, errors)
        page.goto(f"{server.url}/?doc={doc}" if doc else server.url)
        page.wait_for_selector(".cm-content", timeout=PATIENCE_MS)
        return Writer(context, page)

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
