"""The prose names files that exist, and says nothing of the machine it was written on."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROSE = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]


@pytest.mark.parametrize("name", PROSE)
def test_named_files_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    named = re.findall(r"`([\w./-]+\.(?:py|ts|md|cfg|toml|json|lua)|[\w.-]+(?:/[\w.-]+)*/)`", text)
    sources = [ROOT / part for part in ("core", "server", "client_py")]
    known = [f"/{path.as_posix()}" for source in sources for path in source.rglob("*.py")]
    missing = [
        one
        for one in named
        if not (ROOT / one).exists() and not any(path.endswith(f"/{one}") for path in known)
    ]
    assert not missing


@pytest.mark.parametrize("name", PROSE)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), target
