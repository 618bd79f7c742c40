"""Which tokens are believed, and what a grant allows."""

import base64
import json
import time
from typing import Any

import jwt
import pytest

from stretto_core.errors import Forbidden, NotFound, TokenExpired, Unauthenticated
from stretto_server.auth import (
    MAX_GRANTS,
    MAX_NAME,
    MAX_TOKEN_BYTES,
    Action,
    Grant,
    Principal,
    Role,
    TokenVerifier,
    authorize,
    color_of,
    issue_token,
    user_of,
)
from tests.server.wire import SECRET

ANOTHER = "another key that is just as long as the right one"


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims with changes; a change to None takes the claim away."""
    good = {"sub": "ann", "exp": time.time() + 3600, "grants": {"docs/*": "editor"}}
    return {key: value for key, value in (good | changes).items() if value is not None}


def signed(key: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def with_raw_claims(text: str) -> str:
    """Return a token whose signature is right and whose claims are this JSON text."""
    return jwt.PyJWS().encode(text.encode("utf-8", "surrogatepass"), SECRET, algorithm="HS256")


def unsigned() -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims())
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b""]).decode()


def principal(default: Role | None = None, **grants: Role) -> Principal:
    """Return a user with these grants; ``__`` stands for a slash and ``_`` for ``*``."""
    rows = tuple(
        Grant(name.replace("__", "/").replace("_", "*"), role) for name, role in grants.items()
    )
    return Principal(user_of("ann"), rows, time.time() + 60, default)


def test_a_good_token_names_its_user_and_rights() -> None:
    token = issue_token(SECRET, "ann", name="Ann", grants={"docs/*": "editor"}, ttl_s=60)
    who = TokenVerifier(SECRET).verify(token)
    assert (who.user.id, who.user.name, who.user.color) == ("ann", "Ann", color_of("ann"))
    assert who.role_on("docs/notes") is Role.EDITOR
    assert who.role_on("rooms/notes") is None
    assert 58 <= who.ttl_s(time.time()) <= 60
    assert who.ttl_s(time.time() + 100) == 0


FORGED = {
    "nothing": None,
    "empty": "",
    "bytes": b"abc",
    "a number": 5,
    "nonsense": "nonsense",
    "lone surrogate": "\ud800",
    "too long": signed() + "x" * MAX_TOKEN_BYTES,
    "alg none": unsigned(),
    "another key": signed(ANOTHER),
    "another algorithm": signed(algorithm="HS384"),
    "without exp": signed(exp=None),
    "without sub": signed(sub=None),
    "sub is a number": with_raw_claims('{"sub": 5, "exp": 9999999999}'),
    "sub is empty": signed(sub=""),
    "sub is too long": signed(sub="x" * 201),
    "sub has a lone surrogate": with_raw_claims('{"sub": "a\\ud800", "exp": 9999999999}'),
    "exp is text": with_raw_claims('{"sub": "ann", "exp": "soon"}'),
    "exp is not a number": with_raw_claims('{"sub": "ann", "exp": NaN}'),
    "exp is endless": with_raw_claims('{"sub": "ann", "exp": Infinity}'),
    "exp is beyond floats": with_raw_claims('{"sub": "ann", "exp": 1%s}' % ("0" * 400)),
    "exp is a list": with_raw_claims('{"sub": "ann", "exp": [1]}'),
    "not yet valid": signed(nbf=time.time() + 1000),
    "claims are a list": with_raw_claims("[]"),
    "claims are nested too deep": with_raw_claims("[" * 2000),
    "grants is a list": signed(grants=["docs/*"]),
    "grants is text": signed(grants="docs/*"),
    "a role that does not exist": signed(grants={"docs/*": "admin"}),
    "a role in capitals": signed(grants={"docs/*": "OWNER"}),
    "a role that is a number": signed(grants={"docs/*": 3}),
    "a role that is a list": signed(grants={"docs/*": ["owner"]}),
    "a role that is null": with_raw_claims(
        '{"sub": "ann", "exp": 9999999999, "grants": {"a": null}}'
    ),
    "too many grants": signed(grants={f"d{i}": "viewer" for i in range(MAX_GRANTS + 1)}),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(token: object) -> None:
    with pytest.raises(Unauthenticated):
        TokenVerifier(SECRET).verify(token)


def test_what_a_refusal_says_does_not_quote_the_token() -> None:
    token = signed(ANOTHER)
    with pytest.raises(Unauthenticated) as refusal:
        TokenVerifier(SECRET).verify(token)
    assert token not in refusal.value.message
    assert refusal.value.__cause__ is None


def test_an_expired_token_has_a_code_of_its_own() -> None:
    with pytest.raises(TokenExpired):
        TokenVerifier(SECRET).verify(signed(exp=time.time() - 1))
    with pytest.raises(Unauthenticated):  # who signed it comes first
        TokenVerifier(SECRET).verify(signed(ANOTHER, exp=time.time() - 1))


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"aud": "stretto", "iss": "us"}, True),
        ({"aud": ["other", "stretto"], "iss": "us"}, True),
        ({"aud": "other", "iss": "us"}, False),
        ({"aud": "stretto", "iss": "them"}, False),
        ({"iss": "us"}, False),
        ({"aud": "stretto"}, False),
    ],
)
def test_audience_and_issuer_are_checked_where_configured(
    changes: dict[str, Any], good: bool
) -> None:
    verifier = TokenVerifier(SECRET, audience="stretto", issuer="us")
    token = signed(**changes)
    if good:
        assert verifier.verify(token).user.id == "ann"
    else:
        with pytest.raises(Unauthenticated):
            verifier.verify(token)
    assert TokenVerifier(SECRET).verify(token).user.id == "ann"


def test_issue_token_writes_audience_and_issuer() -> None:
    token = issue_token(SECRET, "ann", audience="stretto", issuer="us")
    assert TokenVerifier(SECRET, audience="stretto", issuer="us").verify(token)


def test_issue_token_refuses_an_unknown_role() -> None:
    with pytest.raises(KeyError):
        issue_token(SECRET, "ann", grants={"docs/*": "admin"})


def test_a_token_without_grants_has_the_default_role() -> None:
    token = signed(grants=None)
    assert TokenVerifier(SECRET).verify(token).role_on("docs/a") is None
    verifier = TokenVerifier(SECRET, default_role="viewer")
    assert verifier.verify(token).role_on("docs/a") is Role.VIEWER


def test_the_longest_literal_prefix_wins() -> None:
    who = principal(docs___=Role.OWNER, docs__notes_=Role.VIEWER, docs__notes__a=Role.EDITOR)
    assert who.role_on("docs/other") is Role.OWNER
    assert who.role_on("docs/notes-1") is Role.VIEWER
    assert who.role_on("docs/notes/a") is Role.EDITOR
    assert who.role_on("docs/notes/ab") is Role.VIEWER


def test_of_equal_prefixes_the_higher_role_wins_in_either_order() -> None:
    low, high = Grant("docs/*", Role.VIEWER), Grant("docs/*x", Role.OWNER)
    for grants in ((low, high), (high, low)):
        who = Principal(user_of("ann"), grants, 0.0)
        assert who.role_on("docs/x") is Role.OWNER
        assert who.role_on("docs/y") is Role.VIEWER


def test_patterns_are_those_of_a_shell_over_the_whole_resource() -> None:
    assert principal(docs___=Role.EDITOR).role_on("docs/a/b/c") is Role.EDITOR
    assert principal(_=Role.EDITOR).role_on("rooms/a") is Role.EDITOR
    who = Principal(user_of("ann"), (Grant("docs/[ab]?", Role.EDITOR),), 0.0)
    assert who.role_on("docs/a1") is Role.EDITOR
    assert who.role_on("docs/c1") is None
    assert who.role_on("docs/a12") is None
    assert who.role_on("DOCS/a1") is None


def test_a_hostile_pattern_takes_no_time() -> None:
    who = Principal(user_of("ann"), (Grant("docs/" + "*a" * 90 + "b", Role.OWNER),), 0.0)
    start = time.perf_counter()
    assert who.role_on("docs/" + "a" * 200) is None
    assert time.perf_counter() - start < 0.5


def test_a_grant_wins_over_the_default_role_even_when_it_is_lower() -> None:
    who = principal(Role.OWNER, docs__a=Role.VIEWER)
    assert who.role_on("docs/a") is Role.VIEWER
    assert who.role_on("docs/b") is Role.OWNER


@pytest.mark.parametrize(
    ("role", "action", "error"),
    [
        (None, Action.SEE, NotFound),
        (None, Action.OWN, NotFound),
        (Role.VIEWER, Action.SEE, None),
        (Role.VIEWER, Action.EDIT, Forbidden),
        (Role.EDITOR, Action.EDIT, None),
        (Role.EDITOR, Action.OWN, Forbidden),
        (Role.OWNER, Action.OWN, None),
    ],
)
def test_authorize(role: Role | None, action: Action, error: type[Exception] | None) -> None:
    who = principal(role)
    if error is None:
        assert authorize(who, "docs/a", action) is role
    else:
        with pytest.raises(error):
            authorize(who, "docs/a", action)


def test_a_user_without_a_usable_name_is_called_by_the_id() -> None:
    for name in (None, "", "   ", "\ud800"):
        assert user_of("ann", name).name == "ann"
    assert user_of("ann", "x" * 100).name == "x" * MAX_NAME
    assert TokenVerifier(SECRET).verify(signed(name=5)).user.name == "ann"


def test_colors_are_stable_and_differ() -> None:
    colors = {color_of(f"user-{number}") for number in range(50)}
    assert len(colors) > 40
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in colors)
    assert color_of("ann") == color_of("ann")


def test_roles_are_named_as_the_contract_writes_them() -> None:
    assert [Role.named(word).word for word in ("viewer", "editor", "owner")] == [
        "viewer",
        "editor",
        "owner",
    ]
