"""`bash scripts/test.sh --wheel`: an sdist, a wheel, and an environment with nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the files that git tracks."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    copy = tmp_path_factory.mktemp("checkout")
    for path in filter(Path.is_file, map(ROOT.joinpath, listed.stdout.splitlines())):
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory) -> tuple[Path, Path]:
    """An sdist, and a wheel made from it."""
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", dist, checkout], check=True, env=clean_environment())
    return next(dist.glob("*.tar.gz")), next(dist.glob("*.whl"))


def test_the_archives_have_the_files_of_the_repository(built, checkout):
    files = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()}
    generated = ("PKG-INFO", "setup.cfg", "tmsjax.egg-info/")
    files = {path for path in files if not path.startswith(generated)}
    with tarfile.open(built[0]) as archive:
        found = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {path for path in found if not path.startswith(generated)} == files
    with zipfile.ZipFile(built[1]) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    sweeps = {f"tmsjax/{path}" for path in files if path.startswith("sweeps/")}
    assert found == sweeps | {path for path in files if path.startswith("tmsjax/")}


def test_the_metadata_of_the_wheel(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(f"tmsjax-{VERSION}.dist-info/METADATA").decode())
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0 AND ISC"
    assert f"tmsjax-{VERSION}.dist-info/licenses/LICENSE" in names
    assert any(re.search(r"licenses/tmsjax/.*/vendor/LICENSE", name) for name in names), "d3's"
    assert set(metadata.get_all("Provides-Extra")) == PROJECT["project"]["optional-dependencies"].keys()


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The folder of programs of a new environment with the wheel and what it requires; no checkout is near it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, built[1]], check=True, cwd=folder, env=clean_environment())
    return folder / "venv" / "bin"


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def tmsjax_of(bin_: Path, *arguments, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [bin_ / "tmsjax", *arguments], cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_new_environment_trains_an_example_and_draws_it(installed, tmp_path):
    where = [installed / "python", "-c", "import tmsjax; print(tmsjax.__file__)"]
    file = subprocess.run(where, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True)
    assert "site-packages" in file.stdout
    assert tmsjax_of(installed, "--version", cwd=tmp_path) == f"tmsjax {VERSION}\n"
    entries = re.findall(r"^(\w+) +[\d,]+ models  ", tmsjax_of(installed, "examples", cwd=tmp_path), re.MULTILINE)
    assert set(entries) == {path.stem for path in (ROOT / "sweeps").glob("*.toml")}
    for name, axes in (("one_neuron_linear", ("feature_probability", "extra_importance")), ("own_models", ("l1",))):
        tmsjax_of(installed, "examples", name, cwd=tmp_path)
        sizes = [*(f"axes.{axis}.count=6" for axis in axes), "train.steps=20", "record.steps=[20]"]
        changes = [word for size in sizes for word in ("--set", size)]
        tmsjax_of(installed, "run", f"sweeps/{name}.toml", "--out", name, *changes, cwd=tmp_path)
    assert "superposition" in tmsjax_of(installed, "map", "one_neuron_linear", cwd=tmp_path)
    tmsjax_of(installed, "compare", "one_neuron_linear", cwd=tmp_path)
    drawn = tmsjax_of(installed, "plot", "one_neuron_linear", cwd=tmp_path).splitlines()
    assert drawn
    assert all((tmp_path / path).stat().st_size > 5000 for path in drawn)
    tmsjax_of(installed, "explore", "one_neuron_linear", cwd=tmp_path)
    page = tmp_path / "one_neuron_linear" / "explorer.html"
    assert page.stat().st_size > 100_000, "the page's parts are in the wheel"
    facts = json.loads((page.parent / "run.json").read_text())
    assert (facts["versions"]["tmsjax"], facts["git_commit"]) == (VERSION, None)
