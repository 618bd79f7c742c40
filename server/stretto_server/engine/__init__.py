"""Our own Engine.IO 4 and Socket.IO 5 server, for any python-socketio application.

::

    sio = SocketServer(cors_allowed_origins="*")
    sio.attach(app)

Read :mod:`stretto_core.eio` first: what decides is there. Here ``endpoint.py`` turns
requests into inputs of sessions, ``engine_socket.py`` performs what sessions decide,
``connection.py`` owns a WebSocket's transport, ``socket_server.py`` is Socket.IO on top and
``room_manager.py`` delivers to many.
"""

from stretto_server.engine.answers import RoomAnswers
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.recovery import Recovery
from stretto_server.engine.room_manager import RoomManager
from stretto_server.engine.socket_server import SocketServer

__all__ = ["EngineServer", "Recovery", "RoomAnswers", "RoomManager", "SocketServer"]
