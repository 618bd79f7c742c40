"""What a PostgreSQL would lose, and when: said at the start and by ``stretto doctor``."""

from collections.abc import Mapping
from typing import Final

QUERY: Final = """
SELECT current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    pg_is_in_recovery() AS in_recovery
"""


def find_weaknesses(found: Mapping[str, object]) -> list[str]:
    """Return what makes this PostgreSQL lose acknowledged edits, with what to do about it."""
    weaknesses = []
    for name in ("fsync", "full_page_writes"):
        if found[name] == "off":
            weaknesses.append(
                f"{name} is off: a power cut may destroy the whole database; set it to on"
            )
    if found["synchronous_commit"] == "off":
        weaknesses.append(
            "synchronous_commit is off: when PostgreSQL stops, the last edits (up to a second) "
            "are lost, acknowledged or not; set it to on for this user or database"
        )
    elif found["synchronous_commit"] == "local" and found["synchronous_standby_names"]:
        weaknesses.append(
            "synchronous_commit is local: a failover loses what the standby has not got yet; "
            "set it to on"
        )
    if found["in_recovery"]:
        weaknesses.append(
            "it is a replica, which takes no writes: give the address of the primary, or of "
            "all hosts with target_session_attrs=read-write"
        )
    return weaknesses
