import dataclasses

import pytest

from stretto_core.effects import Changed, Origin, Returned
from stretto_core.errors import TooLarge


def test_effects_are_values() -> None:
    assert Changed(("x",), Origin.LOCAL) == Changed(("x",), Origin.LOCAL)
    effect = Changed(("x",), Origin.LOCAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        effect.op = ()  # type: ignore[misc]


def test_origins_are_words_that_an_application_may_print() -> None:
    assert [str(origin) for origin in Origin] == ["local", "remote", "refused", "replaced"]


def test_a_returned_text_may_say_why() -> None:
    assert Returned("x", Origin.REPLACED).error is None
    error = TooLarge()
    assert Returned("x", Origin.REFUSED, error).error is error
