"""Socket.IO 5: each violation closes the connection at once, counted and quietly."""

from collections.abc import Sequence
from typing import Any

import pytest

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.peer import KINDS, Message, join
from tests.server.engine.conformance.strictness import closes

LIMIT = 200_000
ZERO = '{"_placeholder":true,"num":0}'
ONE = '{"_placeholder":true,"num":1}'
SAFE = 2**53 - 1

Row = tuple[str, Sequence[Message]]


def one(reason: str, *texts: str) -> list[Row]:
    return [(reason, [text]) for text in texts]


def interrupted(*texts: str) -> list[Row]:
    """Return packets where another one comes instead of their second attachment."""
    header: Message = f'52-["a",{ZERO},{ONE}]'
    return [("missing_binary", [header, b"\x01", text]) for text in texts]


FORMAT: list[Row] = [
    # Format: a type, and what belongs to it.
    *one("empty", ""),
    *one("unknown_type", "7", "9[]", "abc", "true", '{"a":1}', '٢["a"]', '-1["a"]', " 2[]"),
    # Connection to a namespace: only servers refuse.
    *one("unexpected_type", "4", '4"no"', '4{"message":"no"}', "4true"),
    # Packet types: the payload is an object or nothing in CONNECT, nothing in DISCONNECT.
    *one("invalid_payload", "0/a,[]", '0/a,"token"', "0/a,null", "0/a,true", "0/a,-1.5"),
    *one("invalid_payload", "1{}", "1[]", "1null", '1"a"'),
    *one("invalid_id", "0/a,1{}", "0/a,1", "11", "1/a,7"),
    # Sending and receiving data: "a non-empty array", the event's name first.
    *one("invalid_payload", "2", "2/", "2/a", "2/a,", "212", "2{}", "2null", "2true", '2"a"'),
    *one("invalid_payload", "2[]", "2[null]", "2[true]", '2[{"a":1}]', '2[["a"]]', "21[]"),
    # Names that would call what the application means for itself.
    *one(
        "reserved_event",
        *('2["connect"]', '2["connect_error"]', '2["disconnect"]', '2["disconnecting"]'),
        *('2["newListener"]', '2["removeListener"]', '2["\\u0063onnect"]', '21["disconnect",1]'),
    ),
    # Acknowledgement: an id, and an array.
    *one("invalid_id", "3[]", "3", "3/,[]"),
    *one("invalid_payload", "31", "31{}", '31"a"', "31null"),
    *one("invalid_id", f'2{SAFE + 1}["a"]', f"3{SAFE + 1}[]", "2" + "9" * 5_000 + '["a"]'),
    *one("invalid_json", '2abc["a"]', '2١["a"]', '2+1["a"]', '21.5["a"]', '2 1["a"]'),
]

JSON: list[Row] = [
    # JSON-stringified payload (RFC 8259).
    *one("invalid_json", '2["a"', '2["a"]]', '2["a",]', "2['a']", '2["a"] x', "2[", '2["a",\x00]'),
    *one("invalid_json", '2["a","\n"]', '2["a",01]', '2["a",.5]', '2["\\x"]', '2["a" 1]'),
    # Numbers that are none in JavaScript, or none at all.
    *one("not_finite", '2["a",NaN]', '2["a",Infinity]', '2["a",{"b":[-Infinity]}]'),
    *one("not_finite", '2["a",1e999]', '2["a",[-1e999]]', "2[1e999]", '21["a",1E+400]'),
    *one("not_finite", '2["a",' + "9" * 400 + "]", '0/a,{"b":1e999}', "31[NaN]"),
    # Depth: levels that overflow other people's stacks.
    *one(
        "too_deep",
        *('2["a",' + "[" * depth + "]" * depth + "]" for depth in (64, 1_000, 5_000, 90_000)),
        '2["a",' + '{"a":' * 5_000 + "1" + "}" * 5_000 + "]",
        "0/a," + '{"a":' * 65 + "1" + "}" * 65,
        "31[" + "[" * 5_000 + "]" * 5_000 + "]",
    ),
    ("too_large", ['2["a","' + "x" * LIMIT + '"]']),
]

BINARY: list[Row] = [
    # Format: "<# of binary attachments>-", in binary packets and in no others.
    *one("invalid_attachments", f'5["a",{ZERO}]', f'5-["a",{ZERO}]', '50-["a"]', "60-1[]", "5"),
    *one("invalid_attachments", f'51["a",{ZERO}]', f'5/a,["a",{ZERO}]', f'51.0-["a",{ZERO}]'),
    *one("invalid_attachments", f'5١-["a",{ZERO}]', f'5-1-["a",{ZERO}]', f'5 1-["a",{ZERO}]'),
    *one("invalid_attachments", f'21-["a",{ZERO}]', '2-1["a"]', "31-1[]"),
    *one("too_many_attachments", f'511-["a",{ZERO}]', f'59999999999-["a",{ZERO}]'),
    *one("too_many_attachments", "5" + "9" * 5_000 + '-["a"]'),
    *one("invalid_payload", "51-", "51-[]", f"51-{ZERO}", f"51-[{ZERO}]"),
    *one("reserved_event", f'51-["connect",{ZERO}]'),
    *one("invalid_id", f"61-[{ZERO}]"),
    # Placeholders and attachments pair off exactly.
    *one("invalid_placeholder", '51-["a"]', f'51-["a",{ONE}]', f'51-["a",{ZERO},{ZERO}]'),
    *one("invalid_placeholder", f'52-["a",{ZERO},{ZERO}]', f'52-["a",{ZERO}]', "61-1[]"),
    *(
        ("invalid_placeholder", [f'51-["a",{{"_placeholder":true{number}}}]'])
        for number in (
            *("", ',"num":-1', ',"num":0.0', ',"num":"0"', ',"num":"splice"', ',"num":false'),
            *(',"num":null', ',"num":[0]', ',"num":1e0', ',"num":9007199254740993'),
        )
    ),
    *one("invalid_placeholder", '51-["a",{"_placeholder":1,"num":0}]'),
    # Attachments that nobody announced, or that do not come.
    ("unexpected_binary", [b""]),
    ("unexpected_binary", [b"\x01"]),
    ("unexpected_binary", [f'51-["a",{ZERO}]', b"\x01", b"\x02"]),
    *interrupted('2["a"]', "0", "1", "abc", ""),
    # Their bytes count together.
    ("too_large", [f'52-["a",{ZERO},{ONE}]', bytes(LIMIT // 2), bytes(LIMIT // 2)]),
    # Nobody hoards attachments in a namespace where it is not.
    ("unexpected_binary", [f'51-/elsewhere,["a",{ZERO}]', b"\x01"]),
]


def label(value: Any) -> str:
    return ascii(value[1])[1:40]


async def hall(serve: Serve, **options: Any) -> Host:
    sio = SocketServer(max_http_buffer_size=LIMIT, namespaces=["/", "/a"], **options)

    async def echo(sid: str, *data: Any) -> Any:
        return data

    sio.on("echo", echo)
    return await serve(sio)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", FORMAT + JSON + BINARY, ids=label)
async def test_a_packet_that_is_none(serve: Serve, kind: str, row: Row) -> None:
    """Format: what no sound client sends ends its connection."""
    host = await hall(serve)
    peer, bystander = await join(host, kind), await join(host, "websocket")
    await peer.enter()
    await bystander.enter()
    reason, messages = row
    for message in messages:
        await peer.send(message)
    await closes(host, peer, reason, bystander, ('21["echo",1]', "31[1]"))


@pytest.mark.parametrize("row", FORMAT[:4] + JSON[:1] + BINARY[:1], ids=label)
async def test_before_the_first_connect(serve: Serve, row: Row) -> None:
    """Connection to a namespace: an invalid handshake closes as well."""
    host = await hall(serve)
    peer, bystander = await join(host, "websocket"), await join(host, "websocket")
    await bystander.enter()
    await peer.send(*row[1])
    await peer.ended()
    assert host.violations.total() == 1
    await bystander.send('21["echo",1]')
    assert await bystander.receive() == "31[1]"


@pytest.mark.parametrize("count", [1, 3])
async def test_the_limit_of_attachments_can_be_set(serve: Serve, count: int) -> None:
    """``max_attachments``: as many are allowed, and no more."""
    host = await hall(serve, max_attachments=3)
    peer = await join(host, "websocket")
    await peer.enter()
    holes = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(count))
    await peer.send(f'5{count}-1["echo",{holes}]', *[b"x"] * count)
    assert await peer.take(1 + count) == [f"6{count}-1[{holes}]", *[b"x"] * count]
    await peer.send(f'54-["echo",{holes}]')
    await peer.ended()
    assert host.violations == {"too_many_attachments": 1}


DEEP = '["echo",' + "[" * 62 + '"deep"' + "]" * 62 + "]"


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        # Legal, if unusual.
        ('2/,1["echo"]', "31[]"),
        (f'2{SAFE}["echo"]', f"3{SAFE}[]"),
        ('20["echo"]', "30[]"),
        ('2007["echo"]', "37[]"),
        ("21" + DEEP, "31[" + DEEP[8:]),
        ('21["echo","connect"]', '31["connect"]'),
        ('21["echo",{"_placeholder":true,"num":7}]', '31[{"_placeholder":true,"num":7}]'),
        ('21["echo",1e308]', None),
        ('2 ["nobody"]', None),
        ("2[1]", None),
        ("2[1.5]", None),
        ('2[""]', None),
        ('2["message"]', None),
        ('2["error"]', None),
    ],
)
async def test_what_is_allowed(serve: Serve, packet: str, answer: str | None) -> None:
    """Format: strict, but not stricter than that."""
    host = await hall(serve)
    peer = await join(host, "websocket")
    await peer.enter()
    await peer.send(packet)
    if answer is not None:
        assert await peer.receive() == answer
    await peer.send('23["echo","on"]')
    received = await peer.receive()
    assert '3["on"]' in str(received) or '3["on"]' in str(await peer.receive())
    assert not host.violations
