"""``stretto replay``: a recorded editing history, played by real clients through a server.

Read :mod:`~stretto_client.replay.traces`, then :mod:`~stretto_client.replay.recorded` (what
each author saw), :mod:`~stretto_client.replay.player` (who plays it live),
:mod:`~stretto_client.replay.child` (the server that is killed) and
:mod:`~stretto_client.replay.audit` (what must be true at the end).
"""

from stretto_client.replay.command import add_arguments, run

__all__ = ["add_arguments", "run"]
