"""Seats, cursors and continuing from what a replica has."""

from collections.abc import AsyncIterator

import pytest

from stretto_core.authority import Submission
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import (
    NotFound,
    RoomFull,
    TooLarge,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.protocol import DOCS, NO_HASH, Limits
from stretto_core.roster import Member
from stretto_server import document_log, open_document, wire_json
from stretto_server.auth import Principal, Role, user_of
from stretto_server.connections import Connection
from stretto_server.document_actor import DocumentActor
from stretto_server.journal import frames
from stretto_server.journal.interface import Snapshot
from stretto_server.limits import Rates
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument
from tests.server.presence.fakes import ANN, FakePresence, FakeRoom
from tests.server.stubs import RecordingBus, UnreliableJournal

CLIENT = "client-of-tests-01"


def connection(name: str) -> Connection:
    made = Connection(name, "127.0.0.1", Rates(None), Principal(user_of(name), (), 2e9))
    made.sids[DOCS] = f"sid-{name}"
    return made


@pytest.fixture
async def document() -> AsyncIterator[OpenDocument]:
    journal, bus = UnreliableJournal(), RecordingBus()
    await journal.create("notes", "epoch", 1)
    loaded = await journal.load("notes")
    assert loaded is not None
    actor = DocumentActor("notes", loaded, journal, bus, Limits(), Metrics())
    await actor.admit(CLIENT, "ann")
    for seq in range(1, 6):
        await actor.submit(Submission("epoch", CLIENT, seq, seq - 1, ("x",), "ann"))
    document = OpenDocument(
        actor, bus, journal, Limits(document_members=2, cursor_ranges=2), Metrics()
    )
    yield document
    document.roster.close()
    await actor.stop()


async def test_seats_are_counted_and_kept(document: OpenDocument) -> None:
    ann, bob, carl = connection("ann"), connection("bob"), connection("carl")
    seat = await document.seat(ann, CLIENT, Role.EDITOR, "m1")
    assert await document.seat(ann, "client-of-tests-02", Role.VIEWER, "m2") is seat
    assert (seat.member_id, seat.client, seat.role) == ("m1", "client-of-tests-02", Role.VIEWER)
    await document.seat(bob, CLIENT, Role.EDITOR, "m3")
    assert document.actor.audience == 2
    with pytest.raises(RoomFull):
        await document.seat(carl, CLIENT, Role.EDITOR, "m4")
    await document.unseat(bob)
    await document.unseat(bob)
    assert "notes" not in bob.documents
    await document.seat(carl, CLIENT, Role.EDITOR, "m4")
    assert [member.id for member in document.roster.members] == ["m1", "m4"]


async def test_the_nodes_own_frames_are_not_read_again(
    document: OpenDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = document._bus
    assert isinstance(bus, RecordingBus)
    own = wire_json.dump(bus.frames[-1][2])
    monkeypatch.setattr(open_document, "read_frame", None)
    document.hear(own)
    with pytest.raises(TypeError):
        document.hear(own.replace(b"epoch", b"other"))


async def test_a_race_lost_elsewhere_is_passed_on(document: OpenDocument) -> None:
    pace = document.actor._pace
    document.hear(frames.LOST_RACE)
    pace.committed(5, 6, 1.0)
    assert pace.wait(6, 1.0, audience=1, queued=1, last_frame_at=0.0) > 0


async def test_dismissing_tells_why(document: OpenDocument) -> None:
    ann = connection("ann")
    await document.seat(ann, CLIENT, Role.EDITOR, "m1")
    await document.dismiss(ann, NotFound("gone"))
    bus = document._bus
    assert isinstance(bus, RecordingBus)
    sid, event, payload = bus.frames[-1]
    assert (sid, event, payload["doc"]) == ("sid-ann", "closed", "notes")
    assert payload["error"]["code"] == "not_found"
    assert document.seats == {}


@pytest.mark.parametrize("in_memory", [True, False])
async def test_continuing_from_memory_and_from_the_journal(
    document: OpenDocument, in_memory: bool
) -> None:
    authority = document.actor.authority
    known = authority.hash_at(2)
    if not in_memory:
        authority.trim(5)
        assert authority.horizon == 5
    since = {"epoch": "epoch", "version": 2, "hash": known}
    entries = await document.continued(since)
    assert entries is not None
    assert [entry.seq for entry in entries] == [3, 4, 5]
    assert await document.continued(since | {"hash": NO_HASH}) is None
    assert await document.continued(since | {"version": 6}) is None
    assert await document.continued(since | {"epoch": "other"}) is None
    assert await document.continued(None) is None
    start = await document.continued({"epoch": "epoch", "version": 0, "hash": NO_HASH})
    assert start is not None
    assert len(start) == 5
    page, reached = await document.page(2, 2)
    assert [entry.seq for entry in page] == [2, 3]
    assert reached == (await document.page(4, 0))[1]


async def test_below_the_floor_nothing_continues(document: OpenDocument) -> None:
    document.actor.authority.floor = 3
    since = {"epoch": "epoch", "version": 2, "hash": document.actor.authority.hash_at(2)}
    assert await document.continued(since) is None


async def test_cursors_are_checked_and_carried(document: OpenDocument) -> None:
    ann = connection("ann")
    seat = await document.seat(ann, "client-of-tests-02", Role.EDITOR, "m1")
    with pytest.raises(TooLarge):
        await document.cursor(seat, [(0, 0)] * 3, 5)
    with pytest.raises(VersionAhead):
        await document.cursor(seat, [(0, 0)], 6)
    document.actor.authority.trim(5)
    await document.cursor(seat, [(2, 9)], 3)
    member = document.roster.members["m1"]
    assert (member.ranges, member.version) == (((4, 5),), 5)
    document.actor.authority.floor = 2
    with pytest.raises(VersionGone):
        await document.cursor(seat, [(0, 0)], 1)
    await document.actor.submit(Submission("epoch", CLIENT, 6, 5, ("yy",), "ann"))
    document.map_cursors()
    assert document.roster.members["m1"].ranges == ((6, 7),)
    await document.cursor(seat, None, 0)
    assert document.roster.members["m1"].ranges is None


async def test_what_was_compacted_meanwhile_continues_nothing(document: OpenDocument) -> None:
    authority, journal = document.actor.authority, document._journal
    since = {"epoch": "epoch", "version": 2, "hash": authority.hash_at(2)}
    authority.trim(5)
    await journal.snapshot("notes", "epoch", Snapshot(5, authority.hash, authority.text))
    await journal.compact("notes", "epoch", 4)
    assert await document.continued(since) is None
    assert authority.floor == 4


@pytest.mark.parametrize("how", ["rolled back", "replaced", "deleted"])
async def test_a_journal_with_another_history_is_not_an_answer(
    document: OpenDocument, how: str
) -> None:
    authority, journal = document.actor.authority, document._journal
    since = {"epoch": "epoch", "version": 2, "hash": authority.hash_at(2)}
    authority.trim(5)
    if how == "rolled back":
        assert isinstance(journal, UnreliableJournal)
        history = journal._histories["notes"]
        del history.entries[1:], history.hashes[2:]
    elif how == "replaced":
        await journal.replace("notes", "another", [], [], 1)
    else:
        await journal.delete("notes")
    with pytest.raises(Unavailable):
        await document.continued(since)
    with pytest.raises(Unavailable):
        await document.page(3, 5)
    await document.actor.flush()
    assert document.actor.lost


@pytest.mark.parametrize("version", [2, 4])
async def test_what_is_read_back_must_lead_to_what_is_known(
    document: OpenDocument, version: int
) -> None:
    authority, journal = document.actor.authority, document._journal
    authority.trim(5)
    assert isinstance(journal, UnreliableJournal)
    history = journal._histories["notes"]
    # It lost its tail, and others wrote on.
    del history.entries[version:], history.hashes[version + 1 :]
    while history.head.version < 7:
        entry = Entry("client-elsewhere-1", history.head.version + 1, ("y",), "eve", 1)
        history.entries.append(entry)
        history.hashes.append(next_hash(history.hashes[-1], entry))
    with pytest.raises(Unavailable):
        await document.reach_back(1)
    assert authority.horizon == 5
    await document.actor.flush()
    assert document.actor.lost


async def test_far_bases_are_read_back_in_pages(
    document: OpenDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_log, "PAGE_ENTRIES", 2)
    authority = document.actor.authority
    digests = [authority.hash_at(version) for version in range(6)]
    authority.trim(5)
    await document.reach_back(0)
    assert authority.horizon == 0
    assert authority.hash_at(0) in (None, digests[0])
    assert authority.hash_at(1) == digests[1]
    assert [entry.seq for entry in authority.entries(1, 9)] == [1, 2, 3, 4, 5]


@pytest.fixture
async def shared(document: OpenDocument) -> AsyncIterator[tuple[OpenDocument, FakeRoom]]:
    """The same document, open on other nodes as well."""
    room = FakeRoom()
    actor, bus, journal = document.actor, document._bus, document._journal
    limits = Limits(document_members=2)
    presence = FakePresence(room, "n1")
    made = OpenDocument(actor, bus, journal, limits, Metrics(), presence)
    await made.roster.ready()
    yield made, room
    made.roster.close()


def enter(room: FakeRoom, document: OpenDocument, member: Member) -> None:
    """Let another node enter a member."""
    room.members["n2", member.id] = member
    room.tell("n2", [member], ())
    document.hear(room.messages[-1])


async def test_seats_are_counted_with_those_of_other_nodes(
    shared: tuple[OpenDocument, FakeRoom],
) -> None:
    document, room = shared
    ann, bob = connection("ann"), connection("bob")
    enter(room, document, Member("far", ANN))
    await document.seat(ann, CLIENT, Role.EDITOR, "m1")
    with pytest.raises(RoomFull):
        await document.seat(bob, CLIENT, Role.EDITOR, "m2")
    room.tell("n2", (), ["far"])
    await document.roster.written()
    for message in room.messages:
        document.hear(message)
    await document.seat(bob, CLIENT, Role.EDITOR, "m2")


async def test_other_nodes_know_the_client_and_the_cursor(
    shared: tuple[OpenDocument, FakeRoom],
) -> None:
    document, room = shared
    ann = connection("ann")
    seat = await document.seat(ann, CLIENT, Role.EDITOR, "m1")
    await document.cursor(seat, [(2, 3)], 5)
    await document.roster.written()
    kept = room.members["n1", "m1"]
    assert (kept.ranges, kept.version, kept.client) == (((2, 3),), 5, CLIENT)
    await document.seat(ann, "client-of-tests-02", Role.EDITOR, "m1")
    await document.roster.written()
    assert room.members["n1", "m1"].client == "client-of-tests-02"
    document.announce_reset()
    await document.roster.written()
    assert room.members["n1", "m1"].ranges is None
    await document.unseat(ann)
    await document.roster.written()
    assert room.members == {}


async def test_cursors_of_other_nodes_are_carried_too(
    shared: tuple[OpenDocument, FakeRoom],
) -> None:
    document, room = shared
    enter(room, document, Member("own", ANN, ((1, 3),), 3, client=CLIENT))
    enter(room, document, Member("ahead", ANN, ((9, 9),), 7))
    enter(room, document, Member("other", ANN, ((0, 3),), 4, client="client-of-tests-02"))
    document.map_cursors()
    members = document.roster.members
    assert (members["own"].ranges, members["own"].version) == (((3, 5),), 5)
    assert (members["other"].ranges, members["other"].version) == (((0, 4),), 5)
    assert (members["ahead"].ranges, members["ahead"].version) == (((9, 9),), 7)
