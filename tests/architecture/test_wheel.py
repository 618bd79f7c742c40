"""The wheel, installed on its own: what is missing from the package list shows here."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "server" / "stretto_server" / "page"
SHIPPED = {
    *(b"core", b"server", b"client_py", b"setup.cfg", b"pyproject.toml"),
    *(b"README.md", b"LICENSE"),
}
SECRET = "a key of the tests that is long enough for HS256"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of what git would ship, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in files if name.partition(b"/")[0] in SHIPPED]
    for path in [*paths, *PAGE.rglob("*")]:  # the page is built, not tracked
        if path.is_file():
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; the dependencies are borrowed from ours."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    made = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--quiet", "--python", str(made), "install"]
    command += ["--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def run(python: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    # Our site-packages come by path, so the editable installation there is not followed.
    environ = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib"), **environ}
    return subprocess.run(
        [str(python), *arguments],
        env=environ,
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_wheel_has_typed_packages_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {"stretto_core", "stretto_server", "stretto_client"} == {
        top for top in tops if not top.endswith(".dist-info")
    }
    for package in ("stretto_core", "stretto_server", "stretto_client"):
        assert f"{package}/py.typed" in names


def test_the_wheel_brings_as_much_of_the_page_as_is_built(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if "/page/" in name}
    page = [path for path in PAGE.rglob("*") if path.is_file()]
    assert names == {f"stretto_server/page/{path.relative_to(PAGE)}" for path in page}


def test_the_wheel_brings_scripts_and_migrations(wheel: Path) -> None:
    journal = ROOT / "server" / "stretto_server" / "journal"
    wanted = {f"stretto_server/journal/{path.name}" for path in journal.glob("*.[ls][uq][al]")}
    assert len(wanted) > 10
    assert wanted <= set(ZipFile(wheel).namelist())


def test_the_installed_command_works(python: Path) -> None:
    where = run(python, "-c", "import stretto_core; print(stretto_core.__file__)")
    assert str(python.parent.parent) in where.stdout, where.stderr
    command = run(python, "-m", "stretto_server", "--help")
    assert "serve" in command.stdout
    assert command.returncode == 0
    script = subprocess.run(
        [str(python.with_name("stretto")), "token", "--sub", "ann"],
        env={
            **os.environ,
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "STRETTO_SECRET": SECRET,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.stdout.count(".") == 2, script.stderr


def test_every_module_of_the_wheel_is_imported(python: Path) -> None:
    program = (
        "import pkgutil, importlib\n"
        "for top in ('stretto_core', 'stretto_server', 'stretto_client'):\n"
        "    package = importlib.import_module(top)\n"
        "    for found in pkgutil.walk_packages(package.__path__, top + '.'):\n"
        "        if not found.name.endswith('__main__'):\n"
        "            importlib.import_module(found.name)\n"
        "print('all')\n"
    )
    imported = run(python, "-c", program)
    assert imported.stdout == "all\n", imported.stderr
