"""What every violation leads to: the end of its connection, one count, and nothing else."""

from typing import Any

from tests.server.engine.conformance.exchange import PATIENCE
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import Peer

assert PATIENCE < 25, "within the default ping interval nobody is closed for silence"


async def closes(host: Host, peer: Peer, reason: str, bystander: Peer, answer: Any) -> None:
    """Check that ``peer`` was closed at once for ``reason`` and ``bystander`` goes on.

    The default heart beats every 25 seconds, so it is no ping timeout. That nothing was
    logged is checked after every test.
    """
    await peer.ended()
    await eventually(lambda: peer.sid not in host.engine.sockets)
    assert host.violations == {reason: 1}
    question, expected = answer
    await bystander.send(question)
    assert await bystander.receive() == expected
