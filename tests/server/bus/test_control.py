"""Requests to other nodes, and their answers."""

import asyncio

import pytest

from stretto_core.errors import Unavailable
from stretto_server.bus.control import Inquiries, check_node, node_channel, node_of, sid_on
from stretto_server.bus.messages import Control, decode_control
from tests.server.bus.nodes import until


class Line:
    """Publishes nowhere; ``nodes`` pretend to have heard it."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.sent: list[tuple[str, Control]] = []

    async def publish(self, channel: str, message: bytes) -> int:
        self.sent.append((channel, decode_control(message)))
        await asyncio.sleep(0)
        return self.nodes


def test_a_sid_tells_its_node() -> None:
    assert node_of(sid_on("a1.b-c_d", "x" * 20)) == "a1.b-c_d"
    for other in ("x" * 20, "room:a~" + "x" * 20, "a~short", None, 5, ["a"], "doc:~"):
        assert node_of(other) is None


@pytest.mark.parametrize("name", ["", "a~b", "a b", "ü", "x" * 65])
def test_a_node_is_named_so_that_it_does(name: str) -> None:
    with pytest.raises(ValueError, match="a node is named"):
        check_node(name)


async def test_all_are_waited_for() -> None:
    line = Line(2)
    inquiries = Inquiries(line.publish, answer_s=10)
    asking = asyncio.create_task(inquiries.ask("room", Control("members", "one")))
    await until(lambda: line.sent)
    number = line.sent[0][1].id
    assert number
    answers = [Control("done", node, number, sids=(node,)) for node in ("two", "three")]
    inquiries.answered(answers[0])
    await asyncio.sleep(0.01)
    assert not asking.done()
    inquiries.answered(Control("done", "four", number + 1))
    inquiries.answered(answers[1])
    assert await asking == (answers, True)
    inquiries.answered(answers[1])


async def test_but_not_for_long() -> None:
    line = Line(2)
    inquiries = Inquiries(line.publish, answer_s=0.05)
    asking = asyncio.create_task(inquiries.ask("room", Control("members", "one")))
    await until(lambda: line.sent)
    answer = Control("done", "two", line.sent[0][1].id)
    inquiries.answered(answer)
    assert await asking == ([answer], False)


async def test_one_that_does_not_answer_is_told_of() -> None:
    inquiries = Inquiries(Line(1).publish, answer_s=0.05)
    with pytest.raises(Unavailable, match="two does not answer"):
        await inquiries.ask_node("two", Control("enter", "one"))


async def test_one_that_is_gone_is_not_waited_for() -> None:
    line = Line(0)
    await Inquiries(line.publish, answer_s=60).ask_node("two", Control("enter", "one"))
    assert line.sent[0][0] == node_channel("two")
