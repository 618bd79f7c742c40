"""Who a token names, and what that user may do.

Every right passes :func:`authorize`. Tokens are JWTs; today they are signed with HS256,
and :class:`TokenVerifier` takes one key with one family of algorithms, so that a key of
another family can never be mistaken for it.
"""

import colorsys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

import jwt

from stretto_core.errors import Forbidden, NotFound, TokenExpired, Unauthenticated
from stretto_core.protocol import holds_lone_surrogate
from stretto_core.roster import User

MAX_TOKEN_BYTES = 8 * 1024
MAX_SUBJECT = 200
MAX_NAME = 64
MAX_GRANTS = 200


class Role(IntEnum):
    """What a user is on one document or room; a higher role may do what a lower one may."""

    VIEWER = 1
    EDITOR = 2
    OWNER = 3

    @classmethod
    def named(cls, name: str) -> "Role":
        """Return the role of the wire contract's word. Raises KeyError for any other."""
        return _ROLES[name]

    @property
    def word(self) -> str:
        """The role as the wire contract writes it."""
        return self.name.lower()


_ROLES = {role.word: role for role in Role}


class Action(StrEnum):
    """What can be asked of :func:`authorize`."""

    SEE = "see"
    EDIT = "edit"
    OWN = "own"


_NEEDED = {Action.SEE: Role.VIEWER, Action.EDIT: Role.EDITOR, Action.OWN: Role.OWNER}


@dataclass(frozen=True, slots=True)
class Grant:
    """One row of the ``grants`` claim: a shell pattern over resources, and a role."""

    pattern: str
    role: Role

    @property
    def literal(self) -> int:
        """How many characters stand before the pattern's first wildcard."""
        return next((i for i, char in enumerate(self.pattern) if char in "*?["), len(self.pattern))


@dataclass(frozen=True, slots=True)
class Principal:
    """A user with the rights and expiry (seconds since the epoch) of one accepted token."""

    user: User
    grants: tuple[Grant, ...]
    expires_at: float
    default_role: Role | None = None

    def role_on(self, resource: str) -> Role | None:
        """Return the role on ``docs/<id>`` or ``rooms/<id>``: the longest literal prefix wins."""
        matching = [grant for grant in self.grants if fnmatchcase(resource, grant.pattern)]
        if not matching:
            return self.default_role
        return max(matching, key=lambda grant: (grant.literal, grant.role)).role

    def ttl_s(self, now: float) -> int:
        """Return the whole seconds until the token expires."""
        return max(0, int(self.expires_at - now))


def authorize(principal: Principal, resource: str, action: Action) -> Role:
    """Return the role on ``resource`` if it allows ``action``.

    Raises NotFound where the user has no right to know of it, Forbidden where it is
    visible but the role is too low.
    """
    role = principal.role_on(resource)
    if role is None:
        raise NotFound
    if role < _NEEDED[action]:
        raise Forbidden(f"a {role.word} may not {action} this")
    return role


class TokenVerifier:
    """Turns a token into a :class:`Principal`."""

    def __init__(
        self,
        key: str,
        *,
        algorithms: tuple[str, ...] = ("HS256",),
        audience: str | None = None,
        issuer: str | None = None,
        default_role: str | None = None,
    ) -> None:
        self._key = key
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._default_role = Role.named(default_role) if default_role else None

    def verify(self, token: object) -> Principal:
        """Return who the token names. Raises Unauthenticated or TokenExpired."""
        if not isinstance(token, str) or not token:
            raise Unauthenticated
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("the token is too long")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["exp", "sub"],
                    "verify_aud": self._audience is not None,
                    "verify_iat": False,
                },
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, RecursionError, ValueError, OverflowError):
            raise Unauthenticated("the token does not verify") from None
        return self._principal(claims)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        subject, name = claims["sub"], claims.get("name")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise Unauthenticated("the claim sub is not a short text")
        if holds_lone_surrogate(subject):
            raise Unauthenticated("the claim sub is not text")
        return Principal(
            user_of(subject, name if isinstance(name, str) else None),
            _grants(claims.get("grants", {})),
            _expiry(claims["exp"]),
            self._default_role,
        )


def user_of(subject: str, name: str | None = None) -> User:
    """Return the user of a token's ``sub`` and ``name``; the color follows from ``sub``."""
    shown = (name or "").strip()[:MAX_NAME]
    if not shown or holds_lone_surrogate(shown):
        shown = subject
    return User(subject, shown, color_of(subject))


def color_of(subject: str) -> str:
    """Return a color as ``#rrggbb``, dark enough for white text and light enough for black."""
    hue = int.from_bytes(sha256(subject.encode()).digest()[:2], "big") / 65536
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _expiry(claim: Any) -> float:
    try:
        return float(claim)
    except OverflowError:  # a whole number may be beyond any float
        raise Unauthenticated("the claim exp is no time") from None


def _grants(claim: object) -> tuple[Grant, ...]:
    if not isinstance(claim, dict) or len(claim) > MAX_GRANTS:
        raise Unauthenticated("the claim grants is not a small object")
    try:
        return tuple(Grant(str(pattern), Role.named(role)) for pattern, role in claim.items())
    except (KeyError, TypeError):
        raise Unauthenticated("the claim grants names an unknown role") from None


def issue_token(
    key: str,
    subject: str,
    *,
    name: str | None = None,
    grants: Mapping[str, str] | None = None,
    ttl_s: float = 3600,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """Return a signed token; ``grants`` maps patterns such as ``docs/*`` to role names.

    Raises KeyError for a role that does not exist.
    """
    claims: dict[str, Any] = {"sub": subject, "exp": time.time() + ttl_s}
    if name is not None:
        claims["name"] = name
    if grants:
        claims["grants"] = {pattern: Role.named(role).word for pattern, role in grants.items()}
    if audience is not None:
        claims["aud"] = audience
    if issuer is not None:
        claims["iss"] = issuer
    return jwt.encode(claims, key, algorithm="HS256")
