"""What those who follow a document are told of its journal, in the order of commits.

Each message is one JSON object on the channel of the room ``doc:<id>``, or :data:`LOST_RACE`:

- ``{doc, epoch, from, ops, hash}``: entries were appended; exactly the payload of the wire
  contract's ``ops``, to be relayed as it is.
- ``{doc, epoch, from, version, hash}``, without ``ops``: they were too large; read them.
- ``{doc, epoch, version, hash, replaced: true}``: this history replaces the other, or is the
  other as it stood, under a new epoch.
- ``{doc, epoch, deleted: true}``: the document is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stretto_core.entries import Entry
from stretto_core.following import Frame
from stretto_server import wire_json
from stretto_server.journal.interface import Head

MOST_FRAME_BYTES: Final = 64 * 1024
"""The bus buffers what it publishes for each node, and cuts off those that read too slowly."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another history, or none, is in the place of the one before.

    ``epoch`` is that of the new history, or of the deleted one where there is none.
    """

    epoch: str
    deleted: bool


Told: TypeAlias = Frame | Replaced

LOST_RACE: Final = b"w"
"""Somebody's entries were not appended, because others' were first. Not a frame: who won may
wait a moment before the next append."""


def ops_frame(
    doc: str, epoch: str, base: int, hashes: Sequence[str], size: int
) -> tuple[str, str, int]:
    """Return head and tail of the frame around the entries' JSON, and whether that goes in.

    ``size`` is how long that JSON is. A journal that
    publishes by itself puts the frame together, so that the entries travel once.
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


def read_frame(message: bytes) -> Told:
    """Return what a message says. Raises ValueError for what is none.

    Operations are not checked: the history hash says whether they are what was committed.
    """
    try:
        text = message.decode()
        payload = wire_json.parse(text)
        if "deleted" in payload or "replaced" in payload:
            return Replaced(_text(payload["epoch"]), "deleted" in payload)
        return _frame(payload, text)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"no message about a document: {error!r}") from None


def _frame(payload: dict[str, Any], text: str) -> Frame:
    first, entries = payload["from"], None
    if "ops" in payload:
        entries = tuple([_entry(each) for each in payload["ops"]])
        version = first + len(entries) - 1
    else:
        version = payload["version"]
    if type(first) is not int or type(version) is not int or not 1 <= first <= version:
        raise ValueError("versions")
    return Frame(_text(payload["epoch"]), first, entries, version, _text(payload["hash"]), text)


def _entry(payload: dict[str, Any]) -> Entry:
    client, seq, op = payload["client"], payload["seq"], payload["op"]
    user, at_ms = payload["user"], payload["at_ms"]
    if type(client) is not str or type(user) is not str or type(op) is not list:
        raise ValueError("entry")
    if type(seq) is not int or type(at_ms) is not int:
        raise ValueError("entry")
    for part in op:
        if type(part) is not int and type(part) is not str:
            raise ValueError("op")
    return Entry(client, seq, tuple(op), user, at_ms)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("text")
    return value
