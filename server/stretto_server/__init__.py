"""The Stretto server: aiohttp and python-socketio around the pure core."""
