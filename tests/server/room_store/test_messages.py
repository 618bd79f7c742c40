import pytest

from stretto_core.protocol import ServerEvent
from stretto_server import wire_json
from stretto_server.room_store.interface import Author, RoomSnapshot
from stretto_server.room_store.messages import Told, bring_up, message_head, read_told


def told(revision: int, changes: dict[str, object]) -> Told:
    payload = wire_json.dumps({"room": "a", "revision": revision, "changes": changes})
    found = read_told(f"s- - {revision} {payload}".encode())
    assert found is not None
    return found


def described(name: str) -> Told:
    found = read_told(f'm- - 0 {{"metadata":{{"name":"{name}"}}}}'.encode())
    assert found is not None
    return found


def test_what_is_written_is_read() -> None:
    author = Author({}, "sid", "mark")
    payload = '{"room":"a b","revision":7,"changes":{"k":"é"}}'
    message = f"{message_head(ServerEvent.STATE, author)}7 {payload}".encode()
    assert message.startswith(b"s")
    values = {"room": "a b", "revision": 7, "changes": {"k": "é"}}
    assert read_told(message) == Told(ServerEvent.STATE, "mark", "sid", 7, payload, values)
    head = message_head(ServerEvent.METADATA, Author({}))
    found = read_told(f'{head}0 {{"metadata":{{}}}}'.encode())
    assert found is not None
    assert (found.event, found.skip, found.revision) == (ServerEvent.METADATA, None, 0)


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"s", b"x- - 1 {}", b"s- - 1", b'p{"seq":1}', b"s- - one {}", b"s- - 1 {"),
        *(b"s- - 1 {}", b's- - 1 {"changes":3}', b's- - 1 "changes"', b"m- - 0 []"),
        *(b"s\xff - 1 {}", b's- - 1 {"metadata":{}}', b's- - -1 {"changes":{}}'),
    ],
)
def test_garbage_is_nothing(message: bytes) -> None:
    assert read_told(message) is None


def test_a_snapshot_is_brought_up() -> None:
    snapshot = RoomSnapshot("ann", 3, {"a": 1, "b": 1}, {"name": "old"})
    heard = [
        *(told(2, {"a": 0}), told(3, {"a": 0}), described("new")),
        *(told(4, {"a": 2, "b": None}), told(5, {"c": 3}), told(7, {"lost": 1})),
    ]
    bring_up(snapshot, heard)
    assert (snapshot.revision, snapshot.state) == (5, {"a": 2, "c": 3})
    assert snapshot.metadata == {"name": "new"}
