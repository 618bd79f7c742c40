"""What a Redis would lose, and when: said at the start and by ``stretto doctor``."""

from collections.abc import Mapping
from typing import Final

OLDEST: Final = (7, 0)


def parse_info(text: bytes) -> dict[str, str]:
    """Return the fields of an ``INFO`` answer."""
    rows = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, found, value in rows if found}


def is_old(info: Mapping[str, str]) -> bool:
    """Tell whether this Redis is too old for the journal's scripts."""
    version = info.get("redis_version", "").split(".")
    return tuple(int(part) for part in version[:2] if part.isdigit()) < OLDEST


def find_weaknesses(info: Mapping[str, str], config: Mapping[str, str] | None) -> list[str]:
    """Return what makes this Redis lose acknowledged edits, with what to do about it.

    ``config`` is None where it may not be read.
    """
    found = []
    policy = (config or {}).get("maxmemory-policy") or info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"maxmemory-policy is {policy}: when its memory is full, Redis deletes documents; "
            "set it to noeviction"
        )
    if info.get("role") == "slave":
        found.append("it is a replica, which takes no writes: give the address of the primary")
    if info.get("aof_enabled") == "0":
        found.append(
            "appendonly is no: when Redis stops, every edit since its last snapshot is lost, "
            "acknowledged or not; set appendonly to yes, and appendfsync to always"
        )
    elif config is None:
        found.append(
            "its settings cannot be read (CONFIG is not allowed): if appendfsync is not always, "
            "a power cut loses the last second or two of acknowledged edits"
        )
    elif (policy := config.get("appendfsync", "always")) != "always":
        lost = "the last second or two" if policy == "everysec" else "up to half a minute"
        found.append(
            f"appendfsync is {policy}: a power cut loses {lost} of acknowledged edits, and so may "
            "a kill while the disk is slow; set it to always where that is too much"
        )
    return found
