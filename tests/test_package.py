"""What a release says about itself, and, with `bash scripts/test.sh --wheel`, that a wheel works without a checkout."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import build_release
import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PROJECT["project"]["version"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_packages_are_those_of_the_tree_and_the_sweeps():
    found = {str(p.parent.relative_to(ROOT)).replace(os.sep, ".") for p in (ROOT / "tmsjax").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"tmsjax.sweeps"}


def test_the_readme_names_the_wheel_of_this_version():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"tmsjax-[\w.]+-py3-none-any\.whl", readme)) == {f"tmsjax-{VERSION}-py3-none-any.whl"}


# CITATION.cff, by the required keys of version 1.2.0 of its schema


def test_the_citation_has_what_the_schema_requires():
    assert CITATION.keys() >= {"authors", "cff-version", "message", "title"}
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] in ("software", "dataset")
    assert CITATION["authors"]
    assert all(author.get("name") or author.get("family-names") for author in CITATION["authors"])
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(CITATION["date-released"]))


def test_the_citation_is_of_this_version_and_names_the_paper():
    assert CITATION["version"] == VERSION
    assert CITATION["license"] == PROJECT["project"]["license"].split(" AND ")[0], "d3's licence is not the software's"
    (paper,) = CITATION["references"]
    assert paper.keys() >= {"authors", "title", "type"}, "what the schema requires of a reference"
    assert (paper["title"], paper["year"]) == ("Toy Models of Superposition", 2022)
    assert paper["authors"][0]["family-names"] == "Elhage"
    assert any(each["value"] == "arXiv:2209.10652" for each in paper["identifiers"])


# CHANGELOG.md, by keepachangelog.com


def test_changes_are_newest_first_with_version_date_and_known_headings():
    headings = re.findall(r"^## (.*)$", CHANGES, re.MULTILINE)
    assert headings[0] == "Unreleased"
    found = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \((\d{4}-\d{2}-\d{2})\)", heading) for heading in headings[1:]]
    assert all(found), headings
    versions = [tuple(map(int, match.groups()[:3])) for match in found]
    dates = [match.group(4) for match in found]
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)
    assert versions[0] == tuple(map(int, VERSION.split(".")))
    assert dates[0] == str(CITATION["date-released"])
    kinds = re.findall(r"^### (.*)$", CHANGES, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_change_stands_under_a_heading():
    for part in re.split(r"^## ", CHANGES, flags=re.MULTILINE)[2:]:  # after Unreleased
        before, *kinds = re.split(r"^### .*$", part, flags=re.MULTILINE)
        assert len(before.strip().splitlines()) == 1, before
        assert kinds
        assert all(kind.strip().startswith("- ") for kind in kinds)


# A wheel, an sdist, and an environment with nothing else


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    return build_release.build(tmp_path_factory.mktemp("dist"))


@pytest.mark.wheel
def test_two_builds_have_the_same_bytes(built, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        again = build_release.build(tmp_path / "again")
    finally:
        os.umask(before)
    assert [build_release.digest(path) for path in again] == [build_release.digest(path) for path in built]


@pytest.mark.wheel
def test_another_epoch_gives_other_bytes(built, tmp_path, monkeypatch):
    """The comparison of bytes can fail."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    again = build_release.build(tmp_path / "again")
    assert not {build_release.digest(path) for path in again} & {build_release.digest(path) for path in built}


@pytest.mark.wheel
def test_the_archives_have_the_files_of_the_repository(built):
    assert build_release.differences(*built) == []


@pytest.mark.wheel
def test_the_metadata_of_the_wheel(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(f"tmsjax-{VERSION}.dist-info/METADATA").decode())
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0 AND ISC"
    assert f"tmsjax-{VERSION}.dist-info/licenses/LICENSE" in names
    assert f"tmsjax-{VERSION}.dist-info/licenses/tmsjax/plots/explorer/vendor/LICENSE" in names
    assert {"tmsjax/py.typed", "tmsjax/sweeps/intro.toml", "tmsjax/plots/explorer/page/page.html"} <= set(names)
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


@pytest.mark.wheel
def test_a_new_environment_trains_an_example_and_draws_it(installed, tmp_path):
    where = subprocess.run(
        [installed / "python", "-c", "import tmsjax; print(tmsjax.__file__)"],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "site-packages" in where.stdout
    assert tmsjax_of(installed, "--version", cwd=tmp_path) == f"tmsjax {VERSION}\n"
    listed = tmsjax_of(installed, "examples", cwd=tmp_path)
    entries = re.findall(r"^(\w+) +([\d,]+) models  ", listed, re.MULTILINE)
    assert {name for name, _ in entries} == {path.stem for path in (ROOT / "sweeps").glob("*.toml")}
    tmsjax_of(installed, "examples", "one_neuron_linear", cwd=tmp_path)
    sizes = ["axes.feature_probability.count=6", "axes.extra_importance.count=6", "train.steps=20"]
    changes = [word for size in sizes for word in ("--set", size)]
    tmsjax_of(installed, "run", "sweeps/one_neuron_linear.toml", "--out", "run", *changes, cwd=tmp_path)
    assert "superposition" in tmsjax_of(installed, "map", "run", cwd=tmp_path)
    tmsjax_of(installed, "compare", "run", cwd=tmp_path)
    drawn = tmsjax_of(installed, "plot", "run", cwd=tmp_path).splitlines()
    assert drawn
    assert all((tmp_path / path).stat().st_size > 5000 for path in drawn)
    tmsjax_of(installed, "explore", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "explorer.html").stat().st_size > 100_000, "the page's parts are in the wheel"
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["versions"]["tmsjax"] == VERSION
    assert facts["git_commit"] is None


@pytest.mark.wheel
def test_a_new_environment_runs_the_smallest_example_and_its_own_models(installed, tmp_path):
    tmsjax_of(installed, "examples", "dynamics_6_3", "--to", "mine", cwd=tmp_path)
    changes = ["--set", "train.steps=20", "--set", "record.steps=[0, 20]", "--set", "axes.replica.count=2"]
    tmsjax_of(installed, "run", "mine/dynamics_6_3.toml", "--out", "run", *changes, cwd=tmp_path)
    tmsjax_of(installed, "examples", "own_models", "--to", "mine", cwd=tmp_path)
    own = ["--set", "axes.l1.count=2", "--set", "axes.feature_probability.count=2", "--set", "train.steps=20"]
    own += ["--set", "record.steps=[20]"]
    printed = tmsjax_of(installed, "run", "mine/own_models.toml", "--out", "own", *own, cwd=tmp_path)
    assert "imports " in printed
    assert "own_models.py" in printed
    tmsjax_of(installed, "examples", "absent", cwd=tmp_path, code=2)


@pytest.mark.wheel
@pytest.mark.parametrize("extra", ["cloud", "dask", "browser", "dev"])
def test_extras_resolve(installed, built, tmp_path, extra):
    pip = [installed / "python", "-m", "pip", "--disable-pip-version-check", "install", "--dry-run"]
    done = subprocess.run(
        [*pip, f"{built[1]}[{extra}]"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr


@pytest.mark.wheel
def test_an_editable_install_has_the_examples_of_its_checkout(installed, built, tmp_path):
    """`pip install -e .`, in a copy of the checkout, without what it requires."""
    for path in build_release.tracked():
        if not path.startswith(("docs/", "tests/")):
            (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / path).write_bytes((ROOT / path).read_bytes())
    python = installed / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    try:
        subprocess.run([*pip, "-e", tmp_path / "copy"], check=True, cwd=tmp_path, env=clean_environment())
        (tmp_path / "copy" / "sweeps" / "zzz.toml").write_bytes((ROOT / "sweeps" / "intro.toml").read_bytes())
        assert "\nzzz " in tmsjax_of(installed, "examples", cwd=tmp_path)
    finally:
        subprocess.run([*pip, "--force-reinstall", built[1]], check=True, cwd=tmp_path, env=clean_environment())
