"""The connection goes away and comes back; nothing is lost and nothing comes twice."""

import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Meet, Server, Writer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module's own, to be killed."""
    yield from running(tmp_path_factory.mktemp("killed"), "--dev")


def _is_offline(writer: Writer, unsent: int) -> None:
    edits = "edit" if unsent == 1 else "edits"
    writer.reads_status(f"Offline — {unsent} unsent {edits}")
    expect(writer.page.locator("#banner")).to_contain_text("You are offline")


def test_edits_made_offline_are_delivered(meet: Meet) -> None:
    ada, ben = meet("offline", "Ada"), meet("offline", "Ben")
    ada.write("start")
    ben.sees("start")
    ada.context.set_offline(True)
    ada.reads_status("Offline")
    ada.write(" 😀!")
    _is_offline(ada, 1)
    ben.press("Control+Home")
    ben.write("re")
    ben.reads_status("All changes saved")
    ada.context.set_offline(False)
    for writer in (ada, ben):
        writer.sees("restart 😀!")
        writer.reads_status("All changes saved")
    expect(ada.page.locator("#banner")).to_be_hidden()


def test_a_killed_server_loses_nothing(meet: Meet, server: Server) -> None:
    ada, ben = meet("killed", "Ada"), meet("killed", "Ben")
    ada.write("before")
    ben.sees("before")
    ben.reads_status("All changes saved")
    server.stop(signal.SIGKILL)
    ada.write(" a")
    ben.press("Control+Home")
    ben.write("b ")
    ada.reads_status("Offline — 2 unsent edits")
    server.start()
    for writer in (ada, ben):
        writer.page.evaluate("dispatchEvent(new Event('online'))")  # no need to wait longer
        writer.sees("b before a")
        writer.reads_status("All changes saved")


def test_a_restarted_server_is_found_again(meet: Meet, server: Server) -> None:
    ada = meet("restarted", "Ada")
    ada.write("one")
    ada.reads_status("All changes saved")
    server.stop(signal.SIGTERM)
    expect(ada.page.locator("#status-text")).to_have_text(re.compile("^Offline"))
    server.start()
    ada.write(" two")
    expect(ada.page.locator("#status-text")).to_have_text("All changes saved", timeout=PATIENCE_MS)
    meet("restarted", "Ben").sees("one two")
