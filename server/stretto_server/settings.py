"""Settings: one frozen object, and the only reader of the environment.

A flag of the command wins over ``STRETTO_*``, which wins over the bare name that
platforms set (``PORT``, ``REDIS_URL``, ``DATABASE_URL``, ``WEB_CONCURRENCY``).
"""

import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from stretto_core.protocol import Limits
from stretto_server.addresses import Network, parse_networks
from stretto_server.redis_client.url import RedisUrl

MIN_SECRET_BYTES: Final = 32
ROLES: Final = ("viewer", "editor", "owner")
SHARED_JOURNALS: Final = ("redis", "rediss", "postgres", "postgresql")
"""What the URLs of journals start with that several nodes can share."""
ENGINES: Final = ("own", "stock")
_REACHED_AT: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Where to connect to a server that listens on every address."""


class SettingsError(Exception):
    """Raised with everything that is wrong with the settings, one line each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server runs. Times in seconds; see ``docs/settings.md`` for every variable."""

    host: str = "0.0.0.0"
    port: int = 8080
    secret: str | None = field(default=None, repr=False)
    dev: bool = False
    journal: str = field(default="", repr=False)
    data: Path = Path("data")
    redis_url: str | None = field(default=None, repr=False)
    workers: int = 1
    engine: str = "own"
    default_role: str | None = None
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    connect_timeout: float = 10.0
    compression: bool = False
    token_grace: float = 30.0
    token_audience: str | None = None
    token_issuer: str | None = None
    room_idle_ttl: float = 300.0
    drain: float = 20.0
    history_hours: float = 24.0
    limits: Limits = field(default_factory=Limits)
    rate_limits: bool = True
    keyless: bool = False
    """A process that checks no tokens, as most commands do; a server needs a key."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SettingsError("\n".join(problems))

    def _problems(self) -> list[str]:
        problems = []
        if not 0 <= self.port <= 65535:
            problems.append(f"the port must lie between 0 and 65535, not be {self.port}")
        if self.default_role is not None and self.default_role not in ROLES:
            problems.append(f"STRETTO_DEFAULT_ROLE must be one of {', '.join(ROLES)}")
        if self.dev and not is_loopback(self.host):
            problems.append(f"--dev listens on loopback only, not on {self.host}")
        if not self.rate_limits and not is_loopback(self.host):
            problems.append("STRETTO_LIMITS=off is allowed on loopback only")
        if not (self.ping_interval > 0 and self.ping_timeout > 0):
            problems.append("STRETTO_PING_INTERVAL and STRETTO_PING_TIMEOUT must be more than 0")
        if self.engine not in ENGINES:
            problems.append(f"STRETTO_ENGINE must be one of {', '.join(ENGINES)}")
        if self.workers < 1:
            problems.append(f"there must be 1 worker or more, not {self.workers}")
        if self.workers > 1 and self.engine == "stock":
            problems.append("STRETTO_ENGINE=stock runs one worker only")
        return problems + self._key_problems() + self._journal_problems() + self._redis_problems()

    def _key_problems(self) -> list[str]:
        if self.secret is None and not self.keyless:
            return [
                "no key to check tokens with: set STRETTO_SECRET to at least "
                f"{MIN_SECRET_BYTES} random bytes, or use --dev on your own machine"
            ]
        try:
            if self.secret is None or len(self.secret.encode()) >= MIN_SECRET_BYTES:
                return []
        except UnicodeEncodeError:
            return ["STRETTO_SECRET is not UTF-8 text"]
        return [f"STRETTO_SECRET is shorter than {MIN_SECRET_BYTES} bytes"]

    def _journal_problems(self) -> list[str]:
        scheme = self.journal_scheme
        if scheme in SHARED_JOURNALS:
            return self._shared_journal_problems()
        if self.journal != "memory://" and not re.match("sqlite:///.", self.journal):
            return [
                f"{scheme or 'the journal'}:// is no journal: use sqlite:///path, redis://host, "
                "postgresql://host/database or memory://"
            ]
        if self.redis_url is not None:
            return [
                f"Redis means several nodes, and {scheme}:// serves one only: use a redis:// or "
                "postgresql:// journal, or leave STRETTO_REDIS_URL and REDIS_URL unset"
            ]
        if self.workers > 1:
            return [
                f"{self.workers} workers are several nodes: set STRETTO_REDIS_URL to a Redis for "
                f"all of them, and use a redis:// or postgresql:// journal instead of {scheme}://"
            ]
        return []

    def _redis_problems(self) -> list[str]:
        if self.redis_url is not None:
            try:
                RedisUrl.parse(self.redis_url).tls_context()
            except ValueError as error:
                return [f"STRETTO_REDIS_URL: {error}"]
        elif self.workers > 1 and self.journal_scheme in SHARED_JOURNALS:
            return [
                f"{self.workers} workers speak to each other through Redis, whatever the journal "
                "is: set STRETTO_REDIS_URL or REDIS_URL"
            ]
        return []

    def _shared_journal_problems(self) -> list[str]:
        try:
            if self.journal_scheme.startswith("redis"):
                RedisUrl.parse(self.journal).tls_context()
            elif not urlsplit(self.journal).netloc:
                raise ValueError("it names no host")
        except ValueError as error:
            return [f"the {self.journal_scheme}:// journal: {error}"]
        return []

    @property
    def journal_scheme(self) -> str:
        """What the journal's URL starts with; empty when it is no URL."""
        return self.journal.partition(":")[0] if ":" in self.journal else ""

    @property
    def journal_shown(self) -> str:
        """The journal's URL for people to read: without a user, a password and options."""
        if self.journal_scheme not in SHARED_JOURNALS:
            return self.journal
        parts = urlsplit(self.journal)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def url_at(self, port: int) -> str:
        """Return where clients of this machine reach the server."""
        host = _REACHED_AT.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], **flags: Any) -> Self:
        """Return the settings of a process; ``flags`` that are not None win.

        Raises SettingsError naming everything that is wrong at once. In ``dev`` mode the
        key comes from ``dev.key`` beside the data, made on first use.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        if "data" in given:
            given["data"] = Path(given["data"])
        reader = _Reader(environ)
        values = reader.read(given) | given
        try:
            if values["dev"] and not values["secret"]:
                values["secret"] = dev_key(values["data"])
            settings = cls(**values)
        except SettingsError as error:
            raise SettingsError("\n".join([*reader.problems, str(error)])) from None
        if reader.problems:
            raise SettingsError("\n".join(reader.problems))
        return settings


class _Reader:
    """Reads the environment and remembers what was wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        dev = bool(given.get("dev", self._flag("STRETTO_DEV")))
        data = Path(given.get("data") or self._text("STRETTO_DATA") or "data")
        return {
            "dev": dev,
            "data": data,
            "host": self._text("STRETTO_HOST") or ("127.0.0.1" if dev else "0.0.0.0"),
            "port": self._whole("STRETTO_PORT" if self._text("STRETTO_PORT") else "PORT", 8080, 0),
            "secret": self._text("STRETTO_SECRET"),
            "journal": "" if "journal" in given else self._journal(data),
            "redis_url": self._text("STRETTO_REDIS_URL") or self._text("REDIS_URL"),
            "workers": self._workers(),
            "engine": self._text("STRETTO_ENGINE") or "own",
            "default_role": self._text("STRETTO_DEFAULT_ROLE") or ("editor" if dev else None),
            "trusted_proxies": self._networks("STRETTO_TRUSTED_PROXIES"),
            "allowed_origins": tuple((self._text("STRETTO_ALLOWED_ORIGINS") or "").split()),
            "ping_interval": self._number("STRETTO_PING_INTERVAL", 25.0),
            "ping_timeout": self._number("STRETTO_PING_TIMEOUT", 20.0),
            "connect_timeout": self._number("STRETTO_CONNECT_TIMEOUT", 10.0),
            "compression": self._flag("STRETTO_COMPRESSION"),
            "token_grace": self._number("STRETTO_TOKEN_GRACE", 30.0),
            "token_audience": self._text("STRETTO_TOKEN_AUDIENCE"),
            "token_issuer": self._text("STRETTO_TOKEN_ISSUER"),
            "room_idle_ttl": self._number("STRETTO_ROOM_IDLE_TTL", 300.0),
            "drain": self._number("STRETTO_DRAIN_S", 20.0),
            "history_hours": self._number("STRETTO_HISTORY_HOURS", 24.0),
            "limits": given.get("limits") or self._limits(),
            "rate_limits": self._rate_limits(),
        }

    def _limits(self) -> Limits:
        return Limits(
            **{
                row.name: self._whole(f"STRETTO_LIMIT_{row.name.upper()}", row.default, 1)
                for row in fields(Limits)
                if isinstance(row.default, int)
            }
        )

    def _rate_limits(self) -> bool:
        text = self._text("STRETTO_LIMITS") or "on"
        if text not in ("on", "off"):
            self.problems.append(f"STRETTO_LIMITS must be on or off, not {text!r}")
        return text != "off"

    def _workers(self) -> int:
        """Return how many processes; a platform's guess counts only where they can share."""
        shared = self._text("STRETTO_REDIS_URL") or self._text("REDIS_URL")
        guess = "WEB_CONCURRENCY" if shared and not self._text("STRETTO_WORKERS") else None
        return self._whole(guess or "STRETTO_WORKERS", 1, 1)

    def _journal(self, data: Path) -> str:
        url = self._text("STRETTO_JOURNAL") or self._text("DATABASE_URL")
        if url is not None:
            return url
        if self._text("DYNO") and not self._flag("STRETTO_EPHEMERAL"):
            self.problems.append(
                "this platform's disk is ephemeral, so a SQLite journal would lose every "
                "document on restart: set DATABASE_URL, or STRETTO_EPHEMERAL=1 to accept that"
            )
        return f"sqlite:///{quote(str(data / 'stretto.db'))}"

    def _text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def _networks(self, name: str) -> tuple[Network, ...]:
        try:
            return parse_networks(self._text(name) or "")
        except ValueError as error:
            self.problems.append(f"{name} takes networks such as 10.0.0.0/8: {error}")
            return ()

    def _flag(self, name: str) -> bool:
        return (self._text(name) or "0").lower() in ("1", "true", "yes", "on")

    def _number(self, name: str, default: float) -> float:
        text = self._text(name)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            self.problems.append(f"{name} must be a number of 0 or more, not {text!r}")
            return default
        return number

    def _whole(self, name: str, default: int, least: int) -> int:
        text = self._text(name)
        if text is None:
            return default
        if not re.fullmatch("[0-9]{1,15}", text) or int(text) < least:
            self.problems.append(f"{name} must be a whole number of {least} or more, not {text!r}")
            return default
        return int(text)


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def dev_key(data: Path) -> str:
    """Return the key of ``--dev``, kept in ``dev.key`` (mode 0600) beside the data."""
    path = data / "dev.key"
    try:
        data.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_key(path)
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot keep the development key in {path}: {error}") from error
    if len(key) < MIN_SECRET_BYTES:
        raise SettingsError(f"{path} does not hold a key: delete it, and another one is made")
    return key


def _write_key(path: Path) -> None:
    """Make the key, so that nobody ever reads half of it: the first of several to do so wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
