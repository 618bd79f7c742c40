import pytest

from stretto_core import errors
from stretto_core.errors import (
    ERRORS,
    InternalError,
    Retryable,
    SequenceGap,
    StrettoError,
    error_from_payload,
)

CODES = {
    "unauthenticated",
    "token_expired",
    "forbidden",
    "not_found",
    "not_joined",
    "invalid_request",
    "invalid_operation",
    "too_large",
    "rate_limited",
    "room_full",
    "revision_conflict",
    "version_ahead",
    "version_gone",
    "sequence_gap",
    "epoch_changed",
    "busy",
    "unavailable",
    "shutting_down",
    "internal_error",
}
RETRYABLE = {"rate_limited", "busy", "unavailable", "shutting_down"}


def test_the_codes_are_the_contract_s() -> None:
    assert set(ERRORS) == CODES
    assert all(cls.code == code for code, cls in ERRORS.items())


def test_every_class_but_the_two_bases_is_listed() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, StrettoError)
    }
    assert classes - set(ERRORS.values()) == {StrettoError, Retryable}


def test_the_module_shows_every_class_with_its_code() -> None:
    assert errors.__doc__ is not None
    words = errors.__doc__.split()
    for code, cls in ERRORS.items():
        assert words[words.index(cls.__name__) + 1] == code


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_survives_its_payload(code: str) -> None:
    error = ERRORS[code]("because", details={"version": 3})
    payload = error.to_payload()
    assert payload["code"] == code
    assert payload["retryable"] is (code in RETRYABLE)
    assert ("retry_after_ms" in payload) is (code in RETRYABLE)
    again = error_from_payload(payload)
    assert type(again) is ERRORS[code]
    assert again.to_payload() == payload


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_explains_itself(code: str) -> None:
    error = ERRORS[code]()
    assert str(error) == error.message == error.summary != ""
    assert error.details is None
    assert "details" not in error.to_payload()


def test_a_wait_may_be_given() -> None:
    assert ERRORS["busy"]().retry_after_ms == 200
    assert ERRORS["busy"](retry_after_ms=0).retry_after_ms == 0


@pytest.mark.parametrize("payload", [{}, {"code": "brand_new"}, {"code": None, "details": 5}])
def test_what_is_not_known_is_an_internal_error(payload: dict[str, object]) -> None:
    error = error_from_payload(payload)
    assert type(error) is InternalError
    assert error.details is None
    assert error.message == InternalError.summary


def test_details_are_a_copy() -> None:
    details = {"last_seq": 3}
    error = SequenceGap(details=details)
    details["last_seq"] = 9
    assert error.details == {"last_seq": 3}
