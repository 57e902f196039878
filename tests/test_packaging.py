"""What is installed: every package, every file that goes with it, the version, the types."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import fastce

PACKAGE = Path(fastce.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"

pytestmark = pytest.mark.skipif(not PROJECT.exists(), reason="not run from the source tree")

# What setuptools takes along by itself, what is compiled, and what the compiler leaves.
NO_DATA = {".py", ".so", ".pyd", ".pyx", ".c", ".html"}


def setuptools_settings():
    """Read the [tool.setuptools] table."""
    with PROJECT.open("rb") as file:
        return tomllib.load(file)["tool"]["setuptools"]


def packages():
    """Map the name of each package under fastce/ to its folder."""
    folders = [path.parent for path in PACKAGE.rglob("__init__.py")]
    return {".".join(("fastce", *f.relative_to(PACKAGE).parts)): f for f in folders}


def test_every_package_is_listed():
    """A folder with an `__init__.py` that is not listed would be missing from the wheel."""
    assert sorted(setuptools_settings()["packages"]) == sorted(packages())


def test_every_folder_is_a_package():
    """No module stands in a folder without an `__init__.py`."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert folders == set(packages().values())


@pytest.mark.parametrize("name", packages())
def test_every_file_is_listed(name):
    """A file that is neither Python nor built is package data."""
    patterns = setuptools_settings()["package-data"].get(name, [])
    others = [p for p in packages()[name].iterdir() if p.is_file() and p.suffix not in NO_DATA]
    missing = [p.name for p in others if not any(p.match(pattern) for pattern in patterns)]
    assert missing == []


@pytest.mark.parametrize("name", packages())
def test_every_pattern_is_needed(name):
    """Each pattern of the package data stands for a file."""
    for pattern in setuptools_settings()["package-data"].get(name, []):
        assert list(packages()[name].glob(pattern)), pattern


def test_typed():
    """The marker that says so is there (PEP 561), as is a stub for each dynamic module."""
    assert (PACKAGE / "py.typed").exists()
    stubs = {path.stem for path in PACKAGE.glob("*.pyi")}
    assert {"activations", "information", "losses", "reference"} <= stubs


@pytest.mark.parametrize("stub", sorted(p.name for p in PACKAGE.glob("*.pyi")))
def test_stubs_have_a_module(stub):
    """A stub without its module is left over."""
    path = PACKAGE / stub
    assert path.with_suffix(".py").exists() or path.with_suffix(".pyx").exists()


def test_version():
    """The version that is installed is the one that the package states."""
    try:
        version = importlib.metadata.version("fastce")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed: run from the source tree")
    assert version == fastce.__version__
