"""What the generator does in one run, and whether every text came out as it was typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from bench.cluster.nodes import Cluster
from bench.engine.compiling import compiled
from bench.engine.documents import expected_text
from bench.engine.process import generate

SOURCES: Final = (
    "../cluster/cluster_load.c",
    "../cluster/cluster_wire.c",
    "websocket_client.c",
    "measuring.c",
)
ENDING_S: Final = 150.0
"""How long the generator may take to connect and to settle, beside the measuring."""
FIRST_LETTER: Final = "\u4e00"
"""What the first client of each document types; the next letter is the next client's."""


@dataclass(frozen=True, slots=True)
class Work:
    """Who types where; see ``cluster_load.c``."""

    documents: int = 1
    clients: int = 20
    writers: int = 0
    """Of each document's clients; 0: all."""
    chars: int = 5_000
    rate: float = 0.0
    """Characters a second of all writers together; 0: as many as they can."""
    by: str = "clients"
    """What is spread over the nodes: ``clients`` of each document, or whole ``documents``."""
    warm: float = 2.0
    seconds: float = 5.0


def build() -> Path:
    """Return the generator. Raises RuntimeError when there is no compiler."""
    return compiled("cluster_load", SOURCES)


def drive(cluster: Cluster, work: Work, beside: int = 0) -> dict[str, Any]:
    """Run the generator; return its figures, with what Redis did for each operation.

    ``documents`` in them says what is known of each. ``beside`` is another process that belongs
    to the measurement. Raises RuntimeError when a message was wrong or lost.
    """
    command = [str(build()), f"ports={_listed(cluster.ports)}", f"pids={_listed(cluster.pids)}"]
    if cluster.redis is not None:
        command.append(f"redis={cluster.redis.pid}")
    if beside:
        command.append(f"beside={beside}")
    command += [f"{each.name}={getattr(work, each.name)}" for each in fields(work)]
    tokens = [cluster.token(number) for number in range(work.documents * work.clients)]
    before = redis_counts(cluster)
    figures = generate([*command, "--", *tokens], work.warm + work.seconds + ENDING_S)
    after = redis_counts(cluster)
    operations = figures["all_operations"]
    for name, count in after.items():
        figures[f"redis_{name}_per_op"] = (count - before[name]) / operations
    return figures


def redis_counts(cluster: Cluster) -> Mapping[str, int]:
    """Return what Redis counts: bytes in and out, and commands (those of scripts as well)."""
    if cluster.redis is None:
        return {}
    found = parsed_info(cluster.redis.say("INFO", "stats"))
    return {
        "bytes_in": int(found["total_net_input_bytes"]),
        "bytes_out": int(found["total_net_output_bytes"]),
        "commands": int(found["total_commands_processed"]),
    }


def parsed_info(info: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of an answer to ``INFO``."""
    if not isinstance(info, str):
        return info
    rows = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value for name, _, value in rows}


def check(cluster: Cluster, work: Work, documents: Sequence[Mapping[str, Any]]) -> None:
    """Look whether every node has each text as it was typed, and the history the clients saw.

    Raises RuntimeError when one has not.
    """
    for number, seen in enumerate(documents):
        text = expected_text(work.chars, seen["accepted"], FIRST_LETTER)
        for port in cluster.ports:
            found = cluster.document(f"bench-{number}", port)
            if found["text"] != text:
                raise RuntimeError(f"document {number} is not what was typed, at port {port}")
            if (found["version"], found["hash"]) != (seen["version"], seen["hash"]):
                raise RuntimeError(f"document {number} has another history at port {port}")


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
