import pytest

from stretto_server.journal.postgres_durability import find_weaknesses

SAFE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "in_recovery": False,
}


def test_a_safe_server_has_no_weakness() -> None:
    assert find_weaknesses(SAFE) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"fsync": "off"}, "fsync is off"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
        ({"synchronous_commit": "off"}, "synchronous_commit is off"),
        (
            {"synchronous_commit": "local", "synchronous_standby_names": "b"},
            "synchronous_commit is local",
        ),
        ({"in_recovery": True}, "it is a replica"),
    ],
)
def test_weaknesses(found: dict[str, object], said: str) -> None:
    (text,) = find_weaknesses(SAFE | found)
    assert said in text
