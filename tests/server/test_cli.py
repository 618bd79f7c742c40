"""The ``stretto`` command as its users meet it: what it prints, and how it exits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stretto_server import cli
from stretto_server.auth import Role, TokenVerifier
from stretto_server.cli import NO_SERVER, main
from tests.server.wire import SECRET

Output = pytest.CaptureFixture[str]

COMMANDS = [
    [],
    *(["serve"], ["token"], ["docs"], ["replay"], ["migrate"], ["doctor"]),
    *(["docs", name] for name in ("list", "show", "verify", "export", "history", "import")),
    ["docs", "delete"],
]

WITHOUT = """
import sys
import time
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"orjson", "jwt", "uvloop", "redis", "rich"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from stretto_server.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRETTO_SECRET", SECRET)
    monkeypatch.setenv("STRETTO_JOURNAL", f"sqlite:///{tmp_path}/notes.db")
    monkeypatch.chdir(tmp_path)


def without_server(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where the server's libraries are not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: stretto {' '.join(command)}".rstrip())
    assert shown.err == ""


@pytest.mark.parametrize(
    "command",
    [[], ["nonsense"], ["token"], ["serve", "--port", "http"], ["docs"], ["docs", "show"], ["-x"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2(command: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert "usage: stretto" in capsys.readouterr().err


def test_token_prints_a_token_and_nothing_else(capsys: Output) -> None:
    arguments = ["--sub", "ann", "--name", "Ann", "--grant", "docs/*=editor", "--ttl", "15m"]
    assert main(["token", *arguments, "--grant", "rooms/*=viewer"]) == 0
    shown = capsys.readouterr()
    (token,) = shown.out.splitlines()
    assert shown.err == ""
    who = TokenVerifier(SECRET).verify(token)
    assert (who.user.id, who.user.name) == ("ann", "Ann")
    assert (who.role_on("docs/a"), who.role_on("rooms/a")) == (Role.EDITOR, Role.VIEWER)
    assert 890 <= who.expires_at - time.time() <= 900


def test_token_of_development(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRETTO_SECRET")
    assert main(["token", "--sub", "ann", "--dev", "--data", str(tmp_path)]) == 0
    key = (tmp_path / "dev.key").read_text()
    assert TokenVerifier(key).verify(capsys.readouterr().out.strip()).user.id == "ann"


def test_token_names_audience_and_issuer(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRETTO_TOKEN_AUDIENCE", "us")
    monkeypatch.setenv("STRETTO_TOKEN_ISSUER", "me")
    assert main(["token", "--sub", "ann"]) == 0
    token = capsys.readouterr().out.strip()
    assert TokenVerifier(SECRET, audience="us", issuer="me").verify(token)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["token", "--sub", "ann", "--ttl", "soon"], "--ttl"),
        (["token", "--sub", "ann", "--grant", "docs/*"], "--grant"),
        (["serve", "--dev", "--host", "0.0.0.0"], "loopback"),
        (["serve", "--journal", "mysql://h/d"], "mysql"),
        (["docs", "list", "--journal", "sqlite://x"], "sqlite:///path"),
    ],
)
def test_wrong_settings_exit_2(arguments: list[str], said: str, capsys: Output) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("stretto: ")
    assert said in shown.err


def test_no_key_exits_2(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRETTO_SECRET")
    for arguments in (["serve"], ["token", "--sub", "ann"]):
        assert main(arguments) == 2
        assert "STRETTO_SECRET" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["docs", "show", "notes"],
        ["docs", "import", "notes", "none.txt"],
        ["docs", "import", "../notes", os.devnull],
        ["docs", "delete", "notes", "--yes"],
    ],
    ids=" ".join,
)
def test_what_fails_exits_1_with_one_line(arguments: list[str], capsys: Output) -> None:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("stretto: ")
    assert shown.err.count("\n") == 1


def test_a_document_from_beginning_to_end(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "text.txt").write_text("Hello\n")
    assert main(["docs", "import", "notes", "text.txt"]) == 0
    for command in (["list"], ["show", "notes"], ["verify", "notes"], ["history", "notes"]):
        assert main(["docs", *command]) == 0
        assert b"notes" in capsysbinary.readouterr().out or command[0] == "history"
    assert main(["docs", "export", "notes"]) == 0
    assert capsysbinary.readouterr().out == b"Hello\n"
    assert main(["docs", "export", "notes", "--output", "none/out.txt"]) == 1
    assert b"none/out.txt" in capsysbinary.readouterr().err
    assert main(["docs", "delete", "notes", "--yes"]) == 0
    assert main(["docs", "list"]) == 0


def test_doctor_exits_with_what_it_found(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRETTO_PORT", "0")
    assert main(["doctor"]) == 0
    monkeypatch.setenv("STRETTO_SECRET", "short")
    assert main(["doctor"]) == 1
    assert "fail  settings: STRETTO_SECRET" in capsys.readouterr().out


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_token", interrupted)
    assert main(["token", "--sub", "ann"]) == 130


def test_a_reader_that_has_read_enough_is_no_error(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m stretto_server"
    (tmp_path / "text.txt").write_text("Hello\n" * 100_000)
    script = f"{command} docs import notes text.txt && {command} docs export notes | head -1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stderr == ""
    assert done.stdout.endswith("\nHello\n")


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--dev"], ["token", "--sub", "ann"], ["docs", "list"], ["doctor"]],
    ids=" ".join,
)
def test_without_the_servers_libraries_it_says_what_to_install(arguments: list[str]) -> None:
    done = without_server(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", NO_SERVER + "\n")


def test_without_the_servers_libraries_there_is_help() -> None:
    done = without_server("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "serve" in done.stdout
