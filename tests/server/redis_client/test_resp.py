import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_server.redis_client.resp import (
    ProtocolError,
    Reply,
    ReplyError,
    ReplyReader,
    encode,
)

VALUES = st.recursive(
    st.none() | st.binary(max_size=20) | st.integers(-(2**62), 2**62),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def written(value: Reply) -> bytes:
    """Return ``value`` as Redis writes it."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(written, value))


def test_commands_are_lists_of_strings() -> None:
    assert encode("SET", b"\r\n\xff", 7, "é") == (
        b"*4\r\n$3\r\nSET\r\n$3\r\n\r\n\xff\r\n$1\r\n7\r\n$2\r\n\xc3\xa9\r\n"
    )


@given(values=st.lists(VALUES, max_size=5), size=st.integers(1, 40))
def test_replies_are_read_however_they_are_cut(values: list[Reply], size: int) -> None:
    data = b"".join(map(written, values))
    reader = ReplyReader()
    read: list[Reply] = []
    for start in range(0, len(data), size):
        read += reader.feed(data[start : start + size])
    assert read == values


def test_simple_strings_errors_and_empty_lists() -> None:
    replies = ReplyReader().feed(b"+OK\r\n-WRONGTYPE not a list\r\n*0\r\n*-1\r\n*1\r\n-ERR x\r\n")
    assert (replies[0], replies[2], replies[3]) == (b"OK", [], None)
    assert isinstance(replies[1], ReplyError)
    assert (replies[1].code, str(replies[1])) == ("WRONGTYPE", "WRONGTYPE not a list")
    assert isinstance(replies[4][0], ReplyError)


def test_a_large_reply_in_small_pieces_is_read_once() -> None:
    reader = ReplyReader()
    text = b"x" * 1_000_000
    data = written([text, 7])
    replies: list[Reply] = []
    for start in range(0, len(data), 1000):
        replies += reader.feed(data[start : start + 1000])
    assert replies == [[text, 7]]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400\r\n", b":x\r\n", b"$x\r\n", b"+" + b"x" * 70_000])
def test_what_is_no_redis_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ReplyReader().feed(data)
