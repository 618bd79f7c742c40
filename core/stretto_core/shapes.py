"""A quick check of payloads, derived from their schemas.

The schema stays the definition. A shape takes only what is plainly right, exactly as the
schema would load it; on any doubt it answers None, and the schema itself decides and
words the error. What a field takes without doubt, its class says in a method ``take``; a
schema with a field that has none, or with hooks, has no shape.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

DOUBT: Final = object()
"""What a field's ``take`` returns when the schema must be asked."""

Take: TypeAlias = Callable[[object], Any]
Shape: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | None]


def shape_of(schema: Any) -> Shape | None:
    """Return the shape of a marshmallow schema; None when it can have none."""
    if any(schema._hooks.values()):
        return None
    rows: list[tuple[str, str, Take]] = []
    optional: dict[str, tuple[str, Take]] = {}
    for name, field in schema.load_fields.items():
        take = _take_of(field)
        if take is None:
            return None
        key, attribute = field.data_key or name, field.attribute or name
        if field.required:
            rows.append((key, attribute, take))
        else:
            optional[key] = (attribute, take)
    return _shape(tuple(rows), optional)


def _take_of(field: Any) -> Take | None:
    take: Take | None = getattr(field, "take", None)
    if take is None or field.pre_load or field.post_load:
        return None
    # A default that the schema fills in, or refuses to, is the schema's business.
    if not field.required and field.load_default is not _missing_of(field):
        return None
    return _or_none(take) if field.allow_none else take


def _missing_of(field: Any) -> object:
    """Return what marshmallow puts for "no default"."""
    return type(field)().load_default


def _or_none(take: Take) -> Take:
    return lambda value: None if value is None else take(value)


def _shape(
    rows: tuple[tuple[str, str, Take], ...], optional: Mapping[str, tuple[str, Take]]
) -> Shape:
    count = len(rows)

    def shape(payload: dict[str, Any]) -> dict[str, Any] | None:
        decoded: dict[str, Any] = {}
        for key, attribute, take in rows:
            value = take(payload.get(key, DOUBT))
            if value is DOUBT:
                return None
            decoded[attribute] = value
        if len(payload) == count:
            return decoded
        for key, given in payload.items():
            if key in optional:
                attribute, take = optional[key]
                value = take(given)
                if value is DOUBT:
                    return None
                decoded[attribute] = value
        return decoded if len(decoded) == len(payload) else None

    return shape
