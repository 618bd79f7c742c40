"""What a message on a document's channel says: see :mod:`~stretto_server.journal.redis_frames`."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from stretto_core.entries import Entry
from stretto_core.following import Frame
from stretto_server import wire_json


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another history, or none, is in the place of the one before.

    ``epoch`` is that of the new history, or of the deleted one where there is none.
    """

    epoch: str
    deleted: bool


Told: TypeAlias = Frame | Replaced


def read_frame(message: bytes) -> Told:
    """Return what a message says. Raises ValueError for what is none.

    Operations are not checked: the history hash says whether they are what was committed.
    """
    try:
        text = message.decode()
        payload = wire_json.loads(text)
        if "deleted" in payload or "replaced" in payload:
            return Replaced(_text(payload["epoch"]), "deleted" in payload)
        return _frame(payload, text)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
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
    entry = Entry.from_payload(payload)
    if type(entry.seq) is not int or type(entry.at_ms) is not int:
        raise ValueError("entry")
    for part in entry.op:
        if type(part) not in (int, str):
            raise ValueError("op")
    _text(entry.client)
    _text(entry.user)
    return entry


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("text")
    return value
