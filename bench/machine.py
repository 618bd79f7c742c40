"""Where a benchmark ran: what a figure means nothing without."""

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SYNCS = 50


def describe(folder: Path) -> dict[str, Any]:
    """Return date, interpreter, processor, load and the disk that ``folder`` is on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cores": len(available_cpus()),
        "load": round(os.getloadavg()[0], 2),
        "disk": disk_of(folder),
    }


def cpu_model() -> str:
    """Return the processor's name as the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def available_cpus() -> list[int]:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def disk_of(folder: Path) -> dict[str, Any]:
    """Return device, filesystem and the median time of one small durable write."""
    device, filesystem = _mount_of(folder)
    return {
        "device": device,
        "filesystem": filesystem,
        "kind": _kind_of(folder),
        "sync_us": round(sync_us(folder), 1),
    }


def sync_us(folder: Path, count: int = SYNCS) -> float:
    """Return the median microseconds of writing 4 KiB at a file's end and syncing it."""
    folder.mkdir(parents=True, exist_ok=True)
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def _mount_of(folder: Path) -> tuple[str, str]:
    """Return device and filesystem of the longest mount point above ``folder``."""
    path = str(folder.resolve())
    found = ("", "unknown", "unknown")
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return found[1:]
    for line in mounts:
        device, point, filesystem = line.split()[:3]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found[0]):
            found = (point, device, filesystem)
    return found[1:]


def _kind_of(folder: Path) -> str:
    """Return what the kernel says of the block device; a virtual one often says nothing true."""
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    number = nearest.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    for place in (block, block.parent):
        rotational = place / "queue" / "rotational"
        if rotational.exists():
            turns = rotational.read_text().strip() == "1"
            return f"{block.name}, {'rotating' if turns else 'not rotating'}"
    return "no block device"
