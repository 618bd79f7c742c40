"""What setup.cfg says is what the disk has."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = {"stretto_core": "core", "stretto_server": "server", "stretto_client": "client_py"}


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_packages_equal_the_disk() -> None:
    listed = setup()["options"]["packages"].split()
    found = [
        ".".join(path.parent.relative_to(ROOT / folder).parts)
        for package, folder in PARTS.items()
        for path in (ROOT / folder / package).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)


def test_every_package_is_typed() -> None:
    for package, folder in PARTS.items():
        assert (ROOT / folder / package / "py.typed").is_file()


def test_metadata_names_nobody() -> None:
    metadata = setup()["metadata"]
    assert metadata["author"] == "the Stretto contributors"
    assert not {"author_email", "maintainer", "maintainer_email", "url"} & set(metadata)


def test_changelog_and_metadata_agree_on_the_version() -> None:
    assert f"## {setup()['metadata']['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_requirements_and_procfile_start_the_server() -> None:
    assert (ROOT / "requirements.txt").read_text().strip() == ".[server,postgres]"
    processes = (ROOT / "Procfile").read_text().splitlines()
    assert processes == ["web: stretto serve", "release: stretto migrate"]
