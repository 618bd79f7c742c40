"""Delivery to the members of rooms: in this process, and from node to node."""
