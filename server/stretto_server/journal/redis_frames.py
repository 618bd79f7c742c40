"""What the Redis journal publishes to those who follow a document, in the order of commits.

Each message is one JSON object on the channel of the room ``doc:<id>``:

- ``{doc, epoch, from, ops, hash}``: entries were appended; exactly the payload of the wire
  contract's ``ops``, to be relayed as it is.
- ``{doc, epoch, from, version, hash}``, without ``ops``: they were too large; read them.
- ``{doc, epoch, version, hash, replaced: true}``: this history replaces the other, or is the
  other as it stood, under a new epoch.
- ``{doc, epoch, deleted: true}``: the document is gone.
"""

from collections.abc import Sequence
from typing import Final

from stretto_server import wire_json
from stretto_server.journal.interface import Head
from stretto_server.redis_client.names import channel_of
from stretto_server.redis_client.resp import Argument

MOST_FRAME_BYTES: Final = 64 * 1024
"""Redis buffers what it publishes for each node, and cuts off those that read too slowly."""


def publish_arguments(doc: str, sharded: bool) -> tuple[str, str]:
    """Return the command that publishes, and the document's channel."""
    return "SPUBLISH" if sharded else "PUBLISH", channel_of(f"doc:{doc}")


def ops_frame(
    doc: str, epoch: str, base: int, hashes: Sequence[str], size: int
) -> tuple[Argument, Argument, Argument]:
    """Return head and tail of the frame around the entries' JSON, and whether that goes in.

    ``size`` is how long that JSON is. Redis puts the frame together, so that the entries
    travel there once.
    """
    digest = wire_json.dumps(hashes[-1]) if hashes else '""'
    head = f'{{"doc":{wire_json.dumps(doc)},"epoch":{wire_json.dumps(epoch)},"from":{base + 1},'
    if size <= MOST_FRAME_BYTES:
        return f'{head}"ops":[', f'],"hash":{digest}}}', 1
    return f'{head}"version":{base + len(hashes)},"hash":{digest}}}', "", 0


def replaced_frame(doc: str, head: Head) -> str:
    """Return the message that another history is in the place of the old one."""
    return wire_json.dumps(
        {
            "doc": doc,
            "epoch": head.epoch,
            "version": head.version,
            "hash": head.hash,
            "replaced": True,
        }
    )


def renewed_frame(doc: str, new_epoch: str) -> tuple[str, str]:
    """Return head and tail of the message that a history has a new epoch.

    Between them go the version, ``,"hash":`` and the hash, which only Redis knows.
    """
    head = f'{{"doc":{wire_json.dumps(doc)},"epoch":{wire_json.dumps(new_epoch)},"version":'
    return head, ',"replaced":true}'


def deleted_frame(doc: str) -> tuple[str, str]:
    """Return head and tail of the message that a document is gone; its epoch goes between."""
    return f'{{"doc":{wire_json.dumps(doc)},"epoch":', ',"deleted":true}'
