import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.sendbuffer import SendBuffer


def message(text: str) -> Packet:
    return Packet(PacketType.MESSAGE, text)


def held(buffer: SendBuffer) -> list[str | bytes]:
    return [packet.data for packet in buffer.take()]


def test_first_in_first_out() -> None:
    buffer = SendBuffer(100)
    for text in "abc":
        buffer.append(message(text))
    packets = buffer.take(2)
    assert [packet.data for packet in packets] == ["a", "b"]
    assert (len(buffer), buffer.size) == (1, 2)
    buffer.put_back(packets)
    assert held(buffer) == ["a", "b", "c"]
    assert buffer.size == 0


def test_the_limit_is_a_mark() -> None:
    buffer = SendBuffer(4)
    marks = []
    for text in "abcd":
        buffer.append(message(text))
        marks.append(buffer.over)
    assert marks == [False, False, True, True]
    last = buffer.take(2)
    assert not buffer.over
    buffer.put_back(last)
    assert buffer.over


def test_volatile_packets_make_room_oldest_first() -> None:
    buffer = SendBuffer(8)
    buffer.append(message("v1"), volatile=True)
    buffer.append(message("k"))
    buffer.append(message("v2"), volatile=True)
    buffer.append(message("n"))
    assert not buffer.over
    assert held(buffer) == ["k", "v2", "n"]


def test_a_volatile_packet_that_does_not_fit_is_not_queued() -> None:
    buffer = SendBuffer(4)
    buffer.append(message("abc"))
    buffer.append(message("x"), volatile=True)
    assert held(buffer) == ["abc"]


def test_what_came_back_is_kept() -> None:
    buffer = SendBuffer(4)
    buffer.append(message("v"), volatile=True)
    buffer.put_back(buffer.take())
    buffer.append(message("w"), volatile=True)
    buffer.append(message("k"))
    assert held(buffer) == ["v", "k"]


def test_a_lone_surrogate_changes_nothing() -> None:
    buffer = SendBuffer(2)
    buffer.append(message("v"), volatile=True)
    with pytest.raises(UnicodeEncodeError):
        buffer.append(message("\ud800"))
    assert held(buffer) == ["v"]


def test_clear() -> None:
    buffer = SendBuffer(1)
    buffer.append(message("abc"))
    buffer.clear()
    assert (len(buffer), buffer.size) == (0, 0)


@given(st.lists(st.one_of(st.tuples(st.text("aé"), st.booleans()), st.integers(0, 3))))
def test_size_is_the_sum_and_only_volatile_packets_are_lost(
    steps: list[tuple[str, bool] | int],
) -> None:
    buffer = SendBuffer(10)
    kept: list[str | bytes] = []
    taken: list[str | bytes] = []
    for step in steps:
        if isinstance(step, int):
            taken += [packet.data for packet in buffer.take(step)]
        else:
            text, volatile = step
            buffer.append(message(text + ("v" if volatile else "")), volatile=volatile)
            kept += [] if volatile else [text]
    waiting = buffer.size
    rest = buffer.take()
    assert waiting == sum(packet.size for packet in rest)
    sent = taken + [packet.data for packet in rest]
    assert [data for data in sent if str(data)[-1:] != "v"] == kept
