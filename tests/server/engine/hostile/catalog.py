"""All attacks on an engine."""

from collections.abc import Sequence
from typing import Final

from tests.server.engine.hostile import (
    bodies,
    breaking,
    floods,
    hoards,
    malformed,
    readers,
    returning,
    silence,
)
from tests.server.engine.hostile.arena import Attack

BUSY: Final[Sequence[Attack]] = [
    malformed.malformed_messages,
    malformed.malformed_frames,
    malformed.malformed_bodies,
    malformed.garbage,
    readers.slow_readers,
    readers.greedy_requests,
    readers.ping_flood,
    hoards.hoards_of_strangers,
    hoards.hoards_of_members,
    hoards.endless_messages,
    hoards.byte_by_byte,
    hoards.deflate_bombs,
    floods.connect_flood,
    floods.namespace_flood,
    floods.deaf_namespace_flood,
    floods.joining_flood,
    floods.churn,
    floods.event_flood,
    floods.event_flood_by_post,
    floods.half_a_million_packets,
    floods.ack_flood,
    floods.questions_without_answers,
    floods.pong_flood,
    bodies.oversize_bodies,
    bodies.bodies_for_nobody,
    bodies.lying_bodies,
    bodies.compressed_bodies,
    bodies.overlapping_posts,
    returning.twins,
    returning.thieves,
    returning.strangers_that_return,
    returning.offsets_of_others,
    returning.departures,
    breaking.aborted_handshakes,
    breaking.half_closed,
]
PATIENT: Final[Sequence[Attack]] = [
    silence.silent_sockets,
    silence.members_that_vanish,
    silence.abandoned_sessions,
    silence.silent_polls,
    silence.half_a_request,
    readers.stopped_readers,
    readers.stopped_polls,
    bodies.slow_bodies,
    bodies.bodies_without_end,
    breaking.aborted_polls,
    breaking.broken_upgrades,
    breaking.unfinished_upgrades,
    breaking.second_websockets,
]
"""They end when the server loses its patience, and can wait for that together."""
