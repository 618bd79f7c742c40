import json

import pytest

from stretto_core.roster import Member, User
from stretto_server.presence.records import member_record, read_message, read_record

ANN = User("ann", "Ann 🎻", "#112233")
MEMBERS = [
    Member("m1", ANN),
    Member("m2", ANN, ((0, 3), (7, 7)), 12, client="client-1"),
    Member("m3", ANN, (), 0, None),
    Member("m4", ANN, status={"deep": [1, None, "é"]}),
]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_is_kept_whole(member: Member) -> None:
    assert read_record(member_record(member)) == member
    assert read_record(member_record(member).encode()) == member


def test_messages() -> None:
    records = ",".join(map(member_record, MEMBERS))
    told = read_message(f'p{{"seq":7,"by":"n1","gone":["m9"],"set":[{records}]}}'.encode(), "n2")
    assert told is not None
    assert (told.seq, told.by, told.entered, told.left) == (7, "n1", tuple(MEMBERS), ("m9",))


GOOD = json.loads(member_record(MEMBERS[1]))


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "{", "[]", "3", "null", '"x"', "{}"),
        *(
            json.dumps({**GOOD, **changes})
            for changes in (
                *({"id": 1}, {"user": "ann"}, {"user": {"id": "ann"}}, {"client": None}),
                *({"ranges": [1]}, {"ranges": [[1, -1]]}, {"ranges": [[1, 2, 3]]}),
                *({"version": None}, {"version": 1.5}, {"ranges": 5}),
            )
        ),
    ],
)
def test_garbage_is_nothing(wrong: str) -> None:
    assert read_record(wrong) is None
    assert read_message(
        f'p{{"seq":1,"by":"n1","set":[{wrong}],"gone":[]}}'.encode(), "n"
    ) is None or (wrong == "")


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"p", b"{}", b"p{}", b"p[]", b"p\xff", b'e{"seq":1,"by":"n","set":[],"gone":[]}'),
        *(b'p{"seq":-1,"by":"n","set":[],"gone":[]}', b'p{"seq":1,"by":2,"set":[],"gone":[]}'),
        *(b'p{"seq":1,"by":"n","set":3,"gone":[]}', b'p{"seq":1,"by":"n","set":[],"gone":[1]}'),
    ],
)
def test_messages_that_are_none(message: bytes) -> None:
    assert read_message(message, "") is None


def test_of_its_own_members_a_node_needs_no_telling() -> None:
    message = f'p{{"seq":7,"by":"n1","gone":["m9"],"set":[{member_record(MEMBERS[0])}]}}'.encode()
    told = read_message(message, "n1")
    assert told is not None
    assert (told.seq, told.by, told.entered, told.left) == (7, "n1", (), ("m9",))
    other = read_message(message, "n")
    assert other is not None
    assert len(other.entered) == 1
