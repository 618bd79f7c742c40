"""Where settings come from, which wins, and that whatever is wrong is said at once."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stretto_core.protocol import Limits
from stretto_server.settings import Settings, SettingsError, dev_key, is_loopback
from tests.server.wire import SECRET

KEY = {"STRETTO_SECRET": SECRET}


def read(environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    return Settings.from_environ(KEY | (environ or {}), **flags)


def problems(environ: dict[str, str], **flags: Any) -> list[str]:
    """Return what is said of settings that must be refused."""
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environ(environ, **flags)
    return str(refusal.value).splitlines()


def test_a_key_is_all_that_must_be_given() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.dev) == ("0.0.0.0", 8080, False)
    assert settings.journal == "sqlite:///data/stretto.db"
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 20.0)
    assert settings.connect_timeout == 10.0
    assert (settings.token_grace, settings.room_idle_ttl, settings.drain) == (30.0, 300.0, 20.0)
    assert (settings.redis_url, settings.default_role) == (None, None)
    assert settings.limits == Limits()
    assert settings.rate_limits


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("STRETTO_HOST", "10.0.0.1", "host", "10.0.0.1"),
        ("STRETTO_PORT", "9000", "port", 9000),
        ("PORT", "9000", "port", 9000),
        ("STRETTO_JOURNAL", "memory://", "journal", "memory://"),
        ("DATABASE_URL", "sqlite:////var/notes.db", "journal", "sqlite:////var/notes.db"),
        ("STRETTO_DATA", "/var/stretto", "data", Path("/var/stretto")),
        ("STRETTO_DATA", "/var/stretto", "journal", "sqlite:////var/stretto/stretto.db"),
        ("STRETTO_DEFAULT_ROLE", "viewer", "default_role", "viewer"),
        ("STRETTO_ALLOWED_ORIGINS", "https://a https://b", "allowed_origins", ("https://a", "https://b")),
        ("STRETTO_PING_INTERVAL", "1.5", "ping_interval", 1.5),
        ("STRETTO_PING_TIMEOUT", "2", "ping_timeout", 2.0),
        ("STRETTO_CONNECT_TIMEOUT", "3", "connect_timeout", 3.0),
        ("STRETTO_TOKEN_GRACE", "4", "token_grace", 4.0),
        ("STRETTO_TOKEN_AUDIENCE", "us", "token_audience", "us"),
        ("STRETTO_TOKEN_ISSUER", "them", "token_issuer", "them"),
        ("STRETTO_ROOM_IDLE_TTL", "5", "room_idle_ttl", 5.0),
        ("STRETTO_DRAIN_S", "6", "drain", 6.0),
        ("STRETTO_HISTORY_HOURS", "7", "history_hours", 7.0),
        ("STRETTO_LIMIT_OP_COMPONENTS", "8", "limits", Limits(op_components=8)),
        ("STRETTO_LIMIT_USER_CONNECTIONS", "9", "limits", Limits(user_connections=9)),
    ],
)  # fmt: skip
def test_every_variable_is_read(name: str, text: str, field: str, value: object) -> None:
    assert getattr(read({name: text}), field) == value
    assert getattr(read({name: f" {text} "}), field) == value


def test_an_empty_variable_is_none() -> None:
    assert read({"STRETTO_PORT": "", "STRETTO_HOST": " ", "PORT": "81"}).port == 81


def test_a_flag_wins_over_ours_which_wins_over_the_bare_name() -> None:
    environ = {"PORT": "1", "STRETTO_PORT": "2"}
    assert read({"PORT": "1"}).port == 1
    assert read(environ).port == 2
    assert read(environ, port=3).port == 3
    urls = {"DATABASE_URL": "sqlite:///a.db", "STRETTO_JOURNAL": "sqlite:///b.db"}
    assert read(urls).journal == "sqlite:///b.db"
    assert read(urls, journal="memory://").journal == "memory://"
    assert read({"STRETTO_DATA": "a"}, data="b").journal == "sqlite:///b/stretto.db"
    assert read({"STRETTO_HOST": "10.0.0.1"}, host="10.0.0.2").host == "10.0.0.2"


def test_a_flag_that_is_none_is_not_given() -> None:
    assert read({"STRETTO_PORT": "2"}, port=None, journal=None, data=None, host=None).port == 2


def test_what_is_overridden_is_not_complained_about() -> None:
    assert read({"PORT": "tcp", "STRETTO_PORT": "2"}).port == 2
    assert (
        read({"DATABASE_URL": "mysql://x", "STRETTO_JOURNAL": "memory://"}).journal == "memory://"
    )


def test_everything_wrong_is_said_at_once() -> None:
    said = problems(
        {
            "STRETTO_PORT": "http",
            "STRETTO_PING_INTERVAL": "-1",
            "STRETTO_DRAIN_S": "nan",
            "STRETTO_LIMIT_OP_COMPONENTS": "0",
            "STRETTO_DEFAULT_ROLE": "admin",
            "STRETTO_JOURNAL": "mysql://u:p@h/d",
        }
    )
    text = "\n".join(said)
    for word in ("STRETTO_PORT", "STRETTO_PING_INTERVAL", "STRETTO_DRAIN_S", "OP_COMPONENTS"):
        assert word in text
    assert "no key to check tokens with" in text
    assert "STRETTO_DEFAULT_ROLE must be one of viewer, editor, owner" in text
    assert "mysql://" in text
    assert "u:p" not in text
    assert len(said) == 7


@pytest.mark.parametrize(
    "environ",
    [
        {"STRETTO_PORT": "80.5"},
        {"STRETTO_PORT": "65536"},
        {"STRETTO_PORT": "-1"},
        {"STRETTO_LIMIT_OP_COMPONENTS": "1.5"},
        {"STRETTO_LIMIT_OP_COMPONENTS": "-1"},
        {"STRETTO_PING_INTERVAL": "0"},
        {"STRETTO_PING_TIMEOUT": "0"},
        {"STRETTO_CONNECT_TIMEOUT": "inf"},
        {"STRETTO_ENGINE": "other"},
        {"STRETTO_WORKERS": "0"},
        {"STRETTO_WORKERS": "many"},
        {"STRETTO_LIMITS": "none"},
        {"STRETTO_JOURNAL": "sqlite://"},
        {"STRETTO_JOURNAL": "sqlite:///"},
        {"STRETTO_JOURNAL": "sqlite:notes.db"},
        {"STRETTO_JOURNAL": "notes.db"},
        {"STRETTO_SECRET": "short"},
        {"STRETTO_SECRET": "\udcff" * 40},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_one_problem(environ: dict[str, str]) -> None:
    assert len(problems(KEY | environ)) == 1


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(read({"STRETTO_JOURNAL": "sqlite:///hidden-path"}))
    assert SECRET not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize("name", ["REDIS_URL", "STRETTO_REDIS_URL"])
@pytest.mark.parametrize("journal", ["sqlite:///a.db", "memory://", ""])
def test_redis_needs_a_journal_of_many_nodes(name: str, journal: str) -> None:
    said = problems(KEY | {name: "redis://:pw@host", "STRETTO_JOURNAL": journal})
    assert len(said) == 1
    assert "redis://" in said[0]
    assert "postgresql://" in said[0]
    assert "pw" not in said[0]


def test_several_workers_need_a_journal_of_many_nodes() -> None:
    said = problems(KEY | {"STRETTO_WORKERS": "2"})
    assert len(said) == 1
    assert "redis://" in said[0]
    assert "postgresql://" in said[0]
    assert "STRETTO_REDIS_URL" in said[0]
    assert read({"WEB_CONCURRENCY": "4"}).workers == 1  # a platform's guess, no wish
    assert read({"STRETTO_WORKERS": "1"}).workers == 1


def test_several_workers_need_redis_whatever_the_journal_is() -> None:
    for url in ("redis://h", "postgresql://h/d"):
        (said,) = problems(KEY | {"STRETTO_WORKERS": "2", "STRETTO_JOURNAL": url})
        assert "STRETTO_REDIS_URL" in said
        assert problems(KEY | {"STRETTO_JOURNAL": url}, workers=3)[0].startswith("3 workers")
        assert read({"STRETTO_JOURNAL": url, "REDIS_URL": "redis://h"}, workers=3).workers == 3
        assert (
            read({"DATABASE_URL": url, "REDIS_URL": "rediss://h", "WEB_CONCURRENCY": "4"}).workers
            == 4
        )
    assert problems(KEY, workers=0) == ["there must be 1 worker or more, not 0"]
    several = {"STRETTO_JOURNAL": "redis://h", "REDIS_URL": "redis://h", "STRETTO_ENGINE": "stock"}
    assert problems(KEY | several, workers=2) == ["STRETTO_ENGINE=stock runs one worker only"]


def test_what_redis_cannot_be_is_said_without_its_password() -> None:
    for url in ("http://u:pw@h", "redis://u:pw@h/notes"):
        (said,) = problems(KEY | {"STRETTO_JOURNAL": "redis://h", "REDIS_URL": url})
        assert said.startswith("STRETTO_REDIS_URL: ")
        assert "pw" not in said


def test_a_journal_is_shown_without_secrets() -> None:
    shown = read({"STRETTO_JOURNAL": "postgresql://u:p%40ss@h:1/d?password=pw"}).journal_shown
    assert shown == "postgresql://h:1/d"
    assert (
        read({"STRETTO_JOURNAL": "rediss://:pw@a,b/2?sentinel=m"}).journal_shown == "rediss://a,b/2"
    )
    assert read({"STRETTO_JOURNAL": "sqlite:////a/b@c.db"}).journal_shown == "sqlite:////a/b@c.db"


def test_a_server_is_reached_at_an_address_of_this_machine() -> None:
    assert read().url_at(80) == "http://127.0.0.1:80"
    assert read({"STRETTO_HOST": "::"}).url_at(80) == "http://[::1]:80"
    assert read({"STRETTO_HOST": "example.org"}).url_at(80) == "http://example.org:80"


@pytest.mark.parametrize(
    "url",
    [
        *("postgres://u:p@h/d", "postgresql://u:p@h/d", "redis://h", "rediss://u:p@h:1/2"),
        "redis://a,b,c?sentinel=main",
    ],
)
def test_a_journal_may_lie_in_a_service(url: str) -> None:
    assert read({"DATABASE_URL": url}).journal == url
    several = {"STRETTO_JOURNAL": url, "STRETTO_REDIS_URL": "redis://h", "STRETTO_WORKERS": "2"}
    assert read(several).workers == 2


@pytest.mark.parametrize(
    "url", ["mysql://u:p@h/d", "postgres:u:p", "redis://u:p@", "redis://u:p@h/notes"]
)
def test_a_database_that_we_cannot_serve_stops_the_start(url: str) -> None:
    said = problems(KEY | {"DATABASE_URL": url})
    assert len(said) == 1
    assert "u:p" not in said[0]


def test_an_ephemeral_disk_needs_consent() -> None:
    said = problems(KEY | {"DYNO": "web.1"})
    assert len(said) == 1
    assert "DATABASE_URL" in said[0]
    assert "STRETTO_EPHEMERAL=1" in said[0]
    assert read({"DYNO": "web.1", "STRETTO_EPHEMERAL": "1"}).journal.startswith("sqlite:///")
    assert read({"DYNO": "web.1", "STRETTO_JOURNAL": "memory://"}).journal == "memory://"


def test_limits_are_off_on_loopback_only() -> None:
    off = {"STRETTO_LIMITS": "off"}
    assert not read(off, host="127.0.0.1").rate_limits
    assert read({"STRETTO_LIMITS": "on"}, host="127.0.0.1").rate_limits
    assert "loopback" in problems(KEY | off)[0]
    assert "loopback" in problems(KEY | off, host="")[0]


def test_dev_listens_on_loopback_and_makes_a_key(tmp_path: Path) -> None:
    settings = Settings.from_environ({"STRETTO_DEV": "1", "STRETTO_DATA": str(tmp_path)})
    assert (settings.dev, settings.host, settings.default_role) == (True, "127.0.0.1", "editor")
    key = tmp_path / "dev.key"
    assert settings.secret == key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert Settings.from_environ({}, dev=True, data=tmp_path).secret == settings.secret
    assert Settings.from_environ(KEY, dev=True, data=tmp_path).secret == SECRET
    assert os.listdir(tmp_path) == ["dev.key"]


def test_dev_refuses_to_be_reached_from_outside(tmp_path: Path) -> None:
    assert problems({}, dev=True, data=tmp_path, host="0.0.0.0") == [
        "--dev listens on loopback only, not on 0.0.0.0"
    ]


def test_a_key_that_cannot_be_kept_is_a_problem_of_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file/dev.key" in problems({}, dev=True, data=tmp_path / "file")[0]
    (tmp_path / "dev.key").mkdir()
    assert "dev.key" in problems({}, dev=True, data=tmp_path)[0]


def test_a_key_that_was_half_written_says_which_file_it_is(tmp_path: Path) -> None:
    (tmp_path / "dev.key").write_text("")
    said = problems({}, dev=True, data=tmp_path)
    assert len(said) == 1
    assert str(tmp_path / "dev.key") in said[0]


def test_two_processes_get_one_key(tmp_path: Path) -> None:
    assert dev_key(tmp_path / "a" / "b") == dev_key(tmp_path / "a" / "b")


def test_a_folder_with_a_percent_sign_is_that_folder(tmp_path: Path) -> None:
    from stretto_server.app import sqlite_path

    data = tmp_path / "100%25 sure"
    assert sqlite_path(read(data=data).journal) == data / "stretto.db"


def test_a_command_needs_no_key() -> None:
    assert Settings.from_environ({}, keyless=True).secret is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("localhost.example.com", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_trusted_proxies_are_networks() -> None:
    read_in = read({"STRETTO_TRUSTED_PROXIES": "10.0.0.0/8 fd00::/8"})
    assert [str(network) for network in read_in.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    said = problems(KEY | {"STRETTO_TRUSTED_PROXIES": "somewhere"})
    assert said[0].startswith("STRETTO_TRUSTED_PROXIES takes networks")
