"""One module per Socket.IO namespace, all behind :mod:`stretto_server.namespaces.boundary`."""
