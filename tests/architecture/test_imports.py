"""Who may import whom. The table is the rule; ARCHITECTURE.md explains it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "stretto_core": ROOT / "core",
    "stretto_server": ROOT / "server",
    "stretto_client": ROOT / "client_py",
}
IMPURE = {
    *("asyncio", "socket", "time", "random", "uuid", "secrets", "os", "logging", "threading"),
    *("pathlib", "subprocess", "sqlite3", "ssl", "select", "selectors", "signal", "datetime"),
}
CORE_MAY_IMPORT = {
    *("array", "base64", "bisect", "collections", "dataclasses", "difflib", "enum", "functools"),
    *("hashlib", "itertools", "json", "math", "operator", "re", "struct", "typing"),
    *("zlib",),
    "stretto_core",
}
SCHEMAS = {"stretto_core.protocol", "stretto_core.payload_fields", "stretto_core.replies"}
CONCRETE = {
    "stretto_server.journal.memory",
    "stretto_server.journal.postgres",
    "stretto_server.journal.redis",
    "stretto_server.journal.sqlite",
    "stretto_server.bus.local",
    "stretto_server.bus.redis",
    "stretto_server.bus.shared_rooms",
    "stretto_server.bus.stock",
}
NAMES_CONCRETE = {
    # A server of python-socketio and its manager, which is the bus, belong together.
    "stretto_server.sockets": {"stretto_server.bus.local"},
    "stretto_server.stock_sockets": {"stretto_server.bus.stock"},
    # What slow readers missed is what that bus held back.
    "stretto_server.slow_readers": {"stretto_server.bus.local"},
}
ENGINE = "stretto_server.engine"
USE_SOCKETIO = {
    *(f"{ENGINE}.compatibility", f"{ENGINE}.room_manager"),
    *(f"{ENGINE}.memberships", f"{ENGINE}.socket_server"),
    *("stretto_server.stock_sockets", "stretto_server.bus.stock"),
    "stretto_server.bus.shared_rooms",
    "stretto_client.transport",
}
USE_ENGINEIO = {"stretto_server.stock_sockets", "stretto_server.bus.stock"}
LEAVES = {"stretto_server.metrics", "stretto_server.wire_json"}
ON_ENGINE = {"stretto_server.bus.local", "stretto_server.bus.shared_rooms"}
SERVICES = {
    *("documents", "rooms", "open_document", "document_registry"),
    *("document_actor", "document_log", "document_queue"),
}


def modules() -> dict[str, Path]:
    """Return every module of the packages: dotted name → file."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (folder / package).rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Return the dotted names that a module imports, modules of ours resolved fully."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute here"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                found.add(whole if whole in MODULES else module)
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("stretto_core")])
def test_core_is_pure(name: str) -> None:
    tops = {imported.partition(".")[0] for imported in imports(name)}
    assert not tops & IMPURE
    allowed = CORE_MAY_IMPORT | ({"marshmallow"} if name in SCHEMAS else set())
    assert tops <= allowed


@pytest.mark.parametrize("name", list(MODULES))
def test_packages_point_one_way(name: str) -> None:
    tops = {imported.partition(".")[0] for imported in imports(name)}
    package = name.partition(".")[0]
    if package == "stretto_core":
        assert not tops & {"stretto_server", "stretto_client"}
    if package == "stretto_client":
        assert "stretto_server" not in tops
    if package == "stretto_server" and name != "stretto_server.cli":
        assert "stretto_client" not in tops


@pytest.mark.parametrize("name", list(MODULES))
def test_only_the_composition_root_names_concrete_journals_and_buses(name: str) -> None:
    if name == "stretto_server.app" or name in CONCRETE:
        return
    assert imports(name) & CONCRETE <= NAMES_CONCRETE.get(name, set())


@pytest.mark.parametrize("name", list(MODULES))
def test_nobody_imports_what_is_above_it(name: str) -> None:
    parts = name.split(".")
    used = imports(name)
    if parts[0] == "stretto_server" and parts[-1] in SERVICES and len(parts) == 2:
        assert not any(one.startswith("stretto_server.namespaces") for one in used)
        assert "stretto_server.app" not in used
    if parts[:2] in (["stretto_server", "journal"], ["stretto_server", "bus"]):
        ours = {one for one in used if one.startswith("stretto_server")} - LEAVES
        shared = [".".join(parts[:2]), "stretto_server.redis_client."]
        shared += [f"{ENGINE}."] if name in ON_ENGINE else []
        assert all(one.startswith(tuple(shared)) for one in ours)
    if parts[:2] == ["stretto_server", "redis_client"]:
        ours = {one for one in used if one.startswith("stretto_")}
        assert all(one.startswith("stretto_server.redis_client") for one in ours)


def test_there_are_no_cycles() -> None:
    graph = {name: {one for one in imports(name) if one in MODULES} for name in MODULES}
    for name, used in graph.items():
        if MODULES[name].name == "__init__.py":
            # A package's face imports its modules; they must not import it back.
            assert not [one for one in used if name in graph[one]]
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for used in sorted(graph[name]):
                visit(used, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def users(*libraries: str) -> set[str]:
    """Return the modules that import one of several packages."""
    return {
        name for name in MODULES if any(one.partition(".")[0] in libraries for one in imports(name))
    }


def test_socketio_is_imported_in_few_places() -> None:
    assert users("socketio") <= USE_SOCKETIO
    # Our engine takes nothing of the other one's.
    assert users("engineio") <= USE_ENGINEIO


def in_engine(name: str) -> bool:
    return name == ENGINE or name.startswith(f"{ENGINE}.")


@pytest.mark.parametrize("name", [name for name in MODULES if in_engine(name)])
def test_the_engine_needs_nothing_else_of_ours(name: str) -> None:
    ours = {one for one in imports(name) if one.startswith("stretto_")}
    others = {one for one in ours if not in_engine(one)} - LEAVES
    assert all(one.startswith("stretto_core.eio") for one in others)


def test_the_engine_is_usable_without_the_rest() -> None:
    script = "import sys, stretto_server.engine; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name for name in done.stdout.split() if name in MODULES}
    packages = {"stretto_core", "stretto_server"}
    rest = {name for name in loaded - packages - LEAVES if not in_engine(name)}
    assert all(name.startswith("stretto_core.eio") for name in rest)
    assert f"{ENGINE}.socket_server" in loaded


def test_only_settings_reads_the_environment() -> None:
    readers = {name for name, path in MODULES.items() if "os.environ" in path.read_text()}
    assert readers <= {
        "stretto_server.settings",
        "stretto_server.server",
        "stretto_server.cli",
        "stretto_server.document_commands",
        "stretto_client.replay.child",
    }


def test_no_grab_bags() -> None:
    for name in MODULES:
        last = name.rpartition(".")[2]
        assert last not in {"util", "utils", "helper", "helpers", "common", "misc"}
        assert not last.startswith("base_")
