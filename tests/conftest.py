"""Strict jax settings, one compilation cache for all tests, and shared small specs and commands."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tmsjax.kinds import REGISTRIES
from tmsjax.spec import load_spec, to_toml

jax.config.update("jax_numpy_rank_promotion", "raise")
ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The tests of studies are a tier of their own."""
    for item in items:
        if ROOT / "tests" / "studies" in item.path.parents:
            item.add_marker(pytest.mark.studies)


ANGLES = 2 * np.pi * np.arange(5) / 5
Z = np.sqrt(1 / 3)
RING = np.sqrt(1 - Z**2)
SQUARE = 2 * np.pi * np.arange(4) / 4
ANTIPRISM = [[RING * np.cos(t + s), RING * np.sin(t + s), z] for s, z in ((0, Z), (np.pi / 4, -Z)) for t in SQUARE]
POLYTOPES = {  # corners (k, m), and the dimensionality of each
    "orthogonal": (np.eye(3), 1),
    "antipodal": (np.array([[1.0], [-1.0]]), 1 / 2),
    "triangle": (np.stack([np.cos(ANGLES * 5 / 3), np.sin(ANGLES * 5 / 3)], 1)[:3], 2 / 3),
    "tetrahedron": (np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3), 3 / 4),
    "pentagon": (np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), 2 / 5),
    "square antiprism": (np.array(ANTIPRISM), 3 / 8),
    "parallel": (np.ones((4, 1)), 1 / 4),
}


def small_spec(**changes) -> dict:
    """A 2 x 3 x 2 one-neuron sweep as a raw dict; `changes` override keys of its tables."""
    raw = {
        "name": "small",
        "seed": 7,
        "model": {"features": 2, "hidden": 1, "activation": "relu"},
        "axes": {
            "feature_probability": {"log": [1.0, 0.1], "count": 2},
            "extra_importance": {"log": [0.1, 10.0], "count": 3},
            "replica": {"count": 2},
        },
        "instance": {
            "importance": [1.0, "extra_importance"],
            "feature_probability": "feature_probability",
            "init_scale": 0.8,
        },
        "train": {"steps": 30, "batch": 16, "learning_rate": 1e-2, "schedule": "cosine"},
    }
    for table, values in changes.items():
        raw[table] = {**raw.get(table, {}), **values} if isinstance(values, dict) else values
    return raw


def plain_spec(features: int, hidden: int, *, probability=0.3, instances: int = 4, **changes) -> dict:
    """A sweep over replicas of one model, as a raw dict."""
    raw = {
        "name": "plain",
        "model": {"features": features, "hidden": hidden},
        "axes": {"replica": {"count": instances}},
        "instance": {"feature_probability": probability},
        "train": {"steps": 30, "batch": 16},
    }
    for table, values in changes.items():
        raw[table] = {**raw.get(table, {}), **values} if isinstance(values, dict) else values
    return raw


def digest(dataset) -> str:
    """A hash of all variables and coordinates."""
    out = hashlib.sha256()
    for name in sorted(dataset.variables):
        values = dataset[name].to_numpy()
        out.update(f"{name} {dataset[name].dims} {values.dtype} {values.shape}".encode() + values.tobytes())
    return out.hexdigest()


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "tmsjax.cli", *map(str, arguments)]


def run_command(*arguments, cwd=None, **options) -> subprocess.CompletedProcess:
    """Runs `tmsjax ARGUMENTS` in its own process."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, **options)


def slowly(*values) -> list:
    """Values of a parameter, of which the tests are marked slow."""
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.slow) for v in values]


def reproduce(package: str, *options: str) -> subprocess.CompletedProcess:
    """Runs a report of scripts/ in its own process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-m", package, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def write_spec(path, raw: dict) -> str:
    path.write_text(to_toml(load_spec(raw)))
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Keeps the compiled programs of tests, and of commands that they start, in folders of this session."""
    folder = str(tmp_path_factory.mktemp("cache"))
    jax.config.update("jax_compilation_cache_dir", f"{folder}/in-process")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


@pytest.fixture
def registries():
    """Everything that the test adds to registries is removed after it."""
    kept = [(r, dict(r._entries), dict(r._sources)) for r in REGISTRIES.values()]
    yield REGISTRIES
    for registry, entries, sources in kept:
        registry._entries, registry._sources = entries, sources


@pytest.fixture
def small() -> dict:
    return small_spec()
