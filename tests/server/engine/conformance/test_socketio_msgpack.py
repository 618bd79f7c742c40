"""Socket.IO 5, "Packet encoding": custom parsers, here the one of socket.io-msgpack-parser."""

from typing import Any

import msgpack
import pytest

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.peer import KINDS, Peer, join
from tests.server.engine.conformance.strictness import closes

LIMIT = 100_000


def packed(type: Any, nsp: Any = "/", **more: Any) -> bytes:
    """Return a packet as the parser writes it: one map in one binary message."""
    data: bytes = msgpack.packb({"type": type, "nsp": nsp, **more})
    return data


async def unpacked(peer: Peer) -> Any:
    received = await peer.receive()
    assert isinstance(received, bytes)
    return msgpack.unpackb(received)


async def hall(serve: Serve, kind: str) -> tuple[Host, Peer, str]:
    sio = SocketServer(serializer="msgpack", max_http_buffer_size=LIMIT, namespaces=["/", "/a"])
    sio.on("echo", lambda sid, *data: data)
    host = await serve(sio)
    peer = await join(host, kind)
    return host, peer, await entered(peer)


async def entered(peer: Peer, nsp: str = "/", **more: Any) -> str:
    await peer.send(packed(0, nsp, **more))
    answer = await unpacked(peer)
    sid: str = answer["data"]["sid"]
    assert answer == {"type": 0, "nsp": nsp, "data": {"sid": sid}}
    return sid


@pytest.mark.parametrize("kind", KINDS)
async def test_events_and_acks(serve: Serve, kind: str) -> None:
    """Acknowledgement: binary data needs no attachments and no other types."""
    _, peer, _ = await hall(serve, kind)
    data = [1, "é", None, True, 1.5, b"\x00\x01", {"a": [b"", {"b": "c"}]}, 2**63]
    await peer.send(packed(2, data=["echo", *data], id=7))
    assert await unpacked(peer) == {"type": 3, "nsp": "/", "id": 7, "data": data}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_asks(serve: Serve, kind: str) -> None:
    """Acknowledgement: in the other direction."""
    host, peer, sid = await hall(serve, kind)
    answers: list[Any] = []
    await host.server.emit("q", {"a": b"x"}, to=sid, callback=lambda *data: answers.append(data))
    question = await unpacked(peer)
    assert question == {"type": 2, "nsp": "/", "id": 1, "data": ["q", {"a": b"x"}]}
    await peer.send(packed(3, id=1, data=[b"answer", 1]), packed(2, data=["echo"], id=2))
    assert (await unpacked(peer))["id"] == 2
    assert answers == [(b"answer", 1)]


async def test_one_packet_to_many(serve: Serve) -> None:
    """Packet encoding: one message over every transport."""
    host, peer, _ = await hall(serve, "polling")
    others = [await join(host, kind) for kind in ("websocket", "upgraded")]
    for other in others:
        await entered(other)
    await host.server.emit("e", ("a", b"b"))
    for each in (peer, *others):
        assert await unpacked(each) == {"type": 2, "nsp": "/", "data": ["e", "a", b"b"]}


async def test_namespaces(serve: Serve) -> None:
    """Connection to a namespace: auth, refusals and disconnection."""
    host, peer, _ = await hall(serve, "websocket")
    seen: list[Any] = []
    host.server.on("connect", lambda sid, environ, auth: seen.append(auth), namespace="/a")
    sid = await entered(peer, "/a", data={"token": b"x"})
    assert seen == [{"token": b"x"}]
    await peer.send(packed(0, "/none"))
    assert await unpacked(peer) == {
        "type": 4,
        "nsp": "/none",
        "data": {"message": "Invalid namespace"},
    }
    await host.server.disconnect(sid, namespace="/a")
    assert await unpacked(peer) == {"type": 1, "nsp": "/a"}
    await peer.send(packed(1, "/"), packed(0, "/"))
    assert (await unpacked(peer))["type"] == 0


async def test_undefined_of_javascript(serve: Serve) -> None:
    """Format: the parser writes ``undefined`` as extension 0, also where a field is absent."""
    _, peer, _ = await hall(serve, "websocket")
    undefined = msgpack.ExtType(0, b"\0")
    await peer.send(packed(2, data=["echo", undefined], id=1, options={"compress": True}))
    assert await unpacked(peer) == {"type": 3, "nsp": "/", "id": 1, "data": [None]}
    await peer.send(packed(2, data=["nobody"], id=undefined))
    await peer.send(packed(2, data=["echo"], id=2))
    assert (await unpacked(peer))["id"] == 2


NOTHING = b"\xc1"
VIOLATIONS: list[tuple[str, str | bytes]] = [
    ("unknown_type", '2["echo"]'),
    ("invalid_payload", NOTHING),
    ("invalid_payload", b""),
    ("invalid_payload", packed(2, data=["echo"])[:-1]),
    ("invalid_payload", packed(2, data=["echo"]) + b"\x00"),
    ("invalid_payload", msgpack.packb([2, "/"])),
    ("invalid_payload", packed(2, None, data=["echo"])),
    ("invalid_payload", packed(2, b"/", data=["echo"])),
    ("unknown_type", packed("2", data=["echo"])),
    ("unknown_type", packed(True, data=["echo"])),
    ("unknown_type", packed(7, data=["echo"])),
    ("unknown_type", packed(2.0, data=["echo"])),
    ("invalid_payload", packed(2)),
    ("invalid_payload", packed(2, data=[])),
    ("invalid_payload", packed(2, data={"a": 1})),
    ("invalid_payload", packed(2, data=[None])),
    ("invalid_payload", packed(2, data=[b"echo"])),
    ("invalid_payload", packed(0, "/a", data=[])),
    ("invalid_payload", packed(1, data={})),
    ("invalid_payload", packed(3, id=1)),
    ("reserved_event", packed(2, data=["connect"])),
    ("reserved_event", packed(2, data=["disconnect", 1])),
    ("invalid_id", packed(3, data=[])),
    ("invalid_id", packed(2, data=["echo"], id=-1)),
    ("invalid_id", packed(2, data=["echo"], id="1")),
    ("invalid_id", packed(2, data=["echo"], id=1.5)),
    ("invalid_id", packed(2, data=["echo"], id=True)),
    ("invalid_id", packed(2, data=["echo"], id=2**53)),
    ("invalid_id", packed(0, "/a", id=1)),
    ("not_finite", packed(2, data=["echo", float("nan")])),
    ("not_finite", packed(2, data=["echo", {"a": float("inf")}])),
    ("too_deep", packed(2, data=["echo"])[:-6] + b"\x92\xa4echo" + b"\x91" * 64 + b"\xc0"),
    ("too_deep", packed(2, data=["echo"])[:-6] + b"\x92\xa4echo" + b"\x91" * 5_000 + b"\xc0"),
    ("too_large", packed(2, data=["echo", bytes(LIMIT)])),
    # Lengths that promise more than there is.
    ("invalid_payload", b"\xdd\xff\xff\xff\xff"),
    ("invalid_payload", b"\xdf\xff\xff\xff\xff"),
    ("invalid_payload", b"\xc6\xff\xff\xff\xff"),
    # Keys that no map of JavaScript has.
    ("invalid_payload", msgpack.packb({1: 2, "type": 2, "nsp": "/"})),
    ("invalid_payload", b"\x81\x91\xc0\xc0"),
    ("invalid_payload", packed(2, "no slash", data=["echo"])),
]


@pytest.mark.parametrize("row", VIOLATIONS, ids=lambda row: ascii(row[1])[:40])
async def test_a_packet_that_is_none(serve: Serve, row: tuple[str, str | bytes]) -> None:
    """Format: what no sound client sends ends its connection, counted and quietly."""
    host, bystander, _ = await hall(serve, "websocket")
    peer = await join(host, "websocket")
    await entered(peer)
    reason, message = row
    await peer.send(message)
    answer = packed(3, id=1, data=[])
    question = packed(2, data=["echo"], id=1)
    await closes(host, peer, reason, Unpacking(bystander), (question, msgpack.unpackb(answer)))


class Unpacking(Peer):
    """Receives packets as objects, whatever the order of their keys."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def send(self, *messages: str | bytes) -> None:
        await self._peer.send(*messages)

    async def receive(self) -> Any:
        return await unpacked(self._peer)

    async def close(self) -> None:
        await self._peer.close()
