"""Engine.IO 4 and Socket.IO 5 without I/O: bytes and clock values in, decisions out.

Read :mod:`~stretto_core.eio.packets` for what travels, then
:mod:`~stretto_core.eio.handshake` for what a request may do,
:mod:`~stretto_core.eio.session` for one client's life, and
:mod:`~stretto_core.eio.socketio` for the packets inside the messages. Nothing here raises
on what a peer sent: it becomes a :class:`~stretto_core.eio.violations.Violation`.

The clauses cited are those of the Engine.IO protocol, revision 4, and the Socket.IO
protocol, revision 5; the numbers are those of the reference server, engine.io 6.6.
"""
