"""The generated files are up to date, and say what the schemas do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stretto_core.protocol import REQUESTS
from stretto_core.replies import ANSWERS, EVENTS
from tools.generate_protocol import asyncapi, definitions, outputs, schemas, typescript

ROOT = Path(__file__).parents[2]


def test_the_files_are_up_to_date() -> None:
    for path, content in outputs().items():
        assert path.read_text() == content, f"{path.relative_to(ROOT)}: make protocol"


def references(value: Any) -> set[str]:
    """Return every ``$ref`` in a JSON value."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set()


def resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    document = {"$defs": definitions()}
    for reference in references(document):
        assert resolve(document, reference)


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        assert resolve(document, reference)


def test_asyncapi_has_every_request_and_event() -> None:
    count = sum(len(events) for table in (REQUESTS, EVENTS) for events in table.values())
    assert len(asyncapi()["operations"]) == count


@pytest.mark.parametrize(
    ("name", "key", "good", "bad"),
    [
        ("OpenDocument", "doc", "notes/a-b", "a b"),
        ("OpenDocument", "client", "0123456789abcdef", "short"),
        ("Since", "hash", "0123456789abcdef", "0123456789ABCDEF"),
    ],
)
def test_patterns_are_those_of_the_checks(name: str, key: str, good: str, bad: str) -> None:
    pattern = definitions()[name]["properties"][key]["pattern"]
    assert re.search(pattern, good)
    assert not re.search(pattern, bad)


def test_required_keys_are_those_of_the_schemas() -> None:
    for name, schema in schemas().items():
        required = [field.data_key or key for key, field in schema.fields.items() if field.required]
        assert definitions()[name].get("required", []) == required


def test_typescript_names_everything() -> None:
    text = typescript()
    for name in schemas():
        assert re.search(rf"^export (interface|type) {name}\b", text, re.MULTILINE), name
    for namespace, answers in ANSWERS.items():
        for event in answers:
            assert f"    {event}: {{ request: " in text, (namespace, event)


def test_generated_json_is_json() -> None:
    for path, content in outputs().items():
        if path.suffix == ".json":
            assert json.loads(content)
