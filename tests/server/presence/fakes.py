"""The presence of several nodes in memory; messages wait until a test delivers them."""

from collections.abc import Collection

from stretto_core.errors import Unavailable
from stretto_core.roster import Member, User
from stretto_server.presence.interface import RosterSnapshot, Sharing
from stretto_server.presence.records import member_record

ANN = User("ann", "Ann", "#112233")


class FakeRoom:
    """What Redis would know of one room."""

    def __init__(self) -> None:
        self.seq = 100
        self.members: dict[tuple[str, str], Member] = {}
        self.leases: set[str] = set()
        self.messages: list[bytes] = []

    def tell(self, node: str, entered: Collection[Member], left: Collection[str]) -> None:
        self.seq += 1
        rows = ",".join(map(member_record, entered))
        gone = ",".join(f'"{one}"' for one in left)
        self.messages.append(
            f'p{{"seq":{self.seq},"by":"{node}","gone":[{gone}],"set":[{rows}]}}'.encode()
        )

    def sweep(self, node: str, by: str) -> None:
        """Let ``by`` find ``node`` dead."""
        self.leases.discard(node)
        gone = [key for key in self.members if key[0] == node]
        for key in gone:
            del self.members[key]
        self.tell(by, (), [key[1] for key in gone])


class FakePresence:
    """What one node sees of it. With ``away`` nothing is reached."""

    def __init__(self, room: FakeRoom, node: str) -> None:
        self.node = node
        self.away = False
        self.writes = 0
        self.snapshots = 0
        self.kept: list[Sharing] = []
        self._room = room

    async def write(
        self, room: str, entered: Collection[Member], left: Collection[str], *, stays: bool
    ) -> bool:
        self._require()
        self.writes += 1
        known = self.node in self._room.leases
        for member in entered:
            self._room.members[self.node, member.id] = member
        for member_id in left:
            self._room.members.pop((self.node, member_id), None)
        if entered or left:
            self._room.tell(self.node, entered, left)
        (self._room.leases.add if stays else self._room.leases.discard)(self.node)
        return known

    async def snapshot(self, room: str) -> RosterSnapshot:
        self._require()
        self.snapshots += 1
        return RosterSnapshot(
            self._room.seq,
            {member.id: member for member in self._room.members.values()},
            frozenset(key[1] for key in self._room.members if key[0] == self.node),
        )

    def keep(self, sharing: Sharing) -> None:
        self.kept.append(sharing)

    def forget(self, sharing: Sharing) -> None:
        if sharing in self.kept:
            self.kept.remove(sharing)

    def _require(self) -> None:
        if self.away:
            raise Unavailable("away")
