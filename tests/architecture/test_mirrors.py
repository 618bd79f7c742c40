"""Every module of the packages has a test file of its name."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "core/stretto_core": "tests/core",
    "server/stretto_server": "tests/server",
    "client_py/stretto_client": "tests/client_py",
}
MODULES = [
    (path, ROOT / tests / path.relative_to(ROOT / source).parent / f"test_{path.name}")
    for source, tests in PARTS.items()
    for path in sorted((ROOT / source).rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
]


@pytest.mark.parametrize(
    ("module", "test"), MODULES, ids=[str(path.relative_to(ROOT)) for path, _ in MODULES]
)
def test_module_has_its_test(module: Path, test: Path) -> None:
    assert test.is_file(), f"{module.name} needs {test.relative_to(ROOT)}"
