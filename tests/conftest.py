"""Strict jax settings, one compilation cache for all tests, and shared small specs, trained runs and commands."""

import gc
import hashlib
import io
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import cli
from tmsjax.engine import streams
from tmsjax.engine.scalars import split
from tmsjax.engine.streams import Shared
from tmsjax.kinds import REGISTRIES, imports
from tmsjax.models import bind, instances, sampling
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec, to_toml

jax.config.update("jax_numpy_rank_promotion", "raise")
ROOT = Path(__file__).parents[1]


PATHS = ("auto", "scalars", "stages", "arrays")  # engine.path

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


def map_axes(rows: int, columns: int, replicas: int, least: float = 0.1) -> dict:
    """The axes of a map: probabilities from 1 to `least`, importances of the extra feature, replicas."""
    return {
        "feature_probability": {"log": [1.0, least], "count": rows},
        "extra_importance": {"log": [0.1, 10.0], "count": columns},
        "replica": {"count": replicas},
    }


def small_spec(**changes) -> dict:
    """A 2 x 3 x 2 one-neuron sweep as a raw dict; `changes` override keys of its tables."""
    raw = {
        "name": "small",
        "seed": 7,
        "model": {"features": 2, "hidden": 1, "activation": "relu"},
        "axes": map_axes(2, 3, 2),
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


def bound(source, k: int = 0) -> tuple:
    """(the problem, instance k, the numbers that all instances share) of a spec."""
    spec = load_spec(source)
    row = jax.tree.map(lambda leaf: jnp.asarray(leaf[k]), instances(spec))
    return bind(spec), row, Shared.of(spec.seed, spec.train.steps)


def draws(source, step: int = 4, k: int = 0) -> tuple:
    """What instance k sees in a step: x (batch, n), and (instance, words, offset) as arrays and as scalars."""
    problem, row, shared = bound(source, k)
    arrays, scalars = (
        (one, streams.words(step, shared, problem, as_scalars), streams.offset(step, one, shared, problem))
        for one, as_scalars in ((row, False), (held(row), True))
    )
    x = jax.vmap(lambda word: problem.sample(sampling.rotate(word, arrays[2], problem.streams), row))(arrays[1])
    return np.asarray(x, np.float64), arrays, scalars


def held(tree):
    """A tree of one instance's arrays, as separate scalars."""
    return jax.tree.map(lambda leaf: split(leaf, 0) if leaf.ndim else leaf, tree)


def digest(dataset) -> str:
    """A hash of all variables and coordinates."""
    out = hashlib.sha256()
    for name in sorted(dataset.variables):
        values = dataset[name].to_numpy()
        out.update(f"{name} {dataset[name].dims} {values.dtype} {values.shape}".encode() + values.tobytes())
    return out.hexdigest()


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "tmsjax.cli", *map(str, arguments)]


def run_process(*arguments, cwd=None, **options) -> subprocess.CompletedProcess:
    """Runs `tmsjax ARGUMENTS` in its own process: 1 to 8 processor seconds, so only where a process matters."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, **options)


# Drops the capabilities DAC_OVERRIDE and DAC_READ_SEARCH, with which permissions do not bind root.
DROPPING = """
import ctypes, os, sys
for capability in (1, 2) if os.getuid() == 0 else ():
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def run_bound(program: str, *arguments) -> subprocess.CompletedProcess:
    """Runs a Python program in its own process, where permissions bind root, too."""
    command = [sys.executable, "-c", DROPPING, program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_command(*arguments, cwd=None) -> subprocess.CompletedProcess:
    """Calls `tmsjax ARGUMENTS` in this process. What the command does not catch itself fails the test."""
    return called(cli.main, *arguments, cwd=cwd)


def called(main, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """Calls the `main` of a command line in this process as in a new one: its exit code, and what it printed."""
    given, code, out, err = list(map(str, arguments)), 0, io.StringIO(), io.StringIO()
    with like_a_new_process(), chdir(cwd or os.curdir), redirect_stdout(out), redirect_stderr(err):
        try:
            main(given)
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())


@contextmanager
def like_a_new_process():
    """Only built-in entries, and warnings of the package are shown; afterwards all settings are as they were."""
    settings, executed, environment = dict(jax.config.values), dict(imports._executed), dict(os.environ)
    with warnings.catch_warnings(), kept_registries():
        warnings.simplefilter("error")
        warnings.simplefilter("default", UserWarning)
        warnings.simplefilter("default", FutureWarning)
        imports._executed.clear()
        for registry in REGISTRIES.values():
            for source in {source for source in registry._sources.values() if source is not None}:
                registry.remove_source(source)
        try:
            yield
        finally:
            imports._executed.clear()
            imports._executed.update(executed)
            os.environ.clear()
            os.environ.update(environment)
            for name, value in settings.items():
                if jax.config.values[name] != value:
                    jax.config.update(name, value)


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


TIERS = {ROOT / "tests" / name: name for name in ("browser", "docs", "studies")}  # of all tests in a folder


def pytest_ignore_collect(collection_path, config):
    """The folder of a tier is not even imported unless it is named."""
    named = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    if collection_path in TIERS and not any(path.is_relative_to(collection_path) for path in named):
        return True
    return None


@pytest.hookimpl(tryfirst=True)  # before those that are not wanted are left out
def pytest_collection_modifyitems(items):
    for item in items:
        for folder, name in TIERS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(name)


def pytest_collection_finish():
    gc.freeze()  # collections need not search what was imported


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Keeps the compiled programs of tests, and of commands that they start, in folders of this session."""
    of_all_workers = tmp_path_factory.getbasetemp().parent / "cache"
    folder = str(of_all_workers if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("cache"))
    jax.config.update("jax_compilation_cache_dir", f"{folder}/in-process")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


@contextmanager
def kept_registries():
    """Everything that is added to registries inside is removed after it, and what is removed is back."""
    kept = [(r, dict(r._entries), dict(r._sources)) for r in REGISTRIES.values()]
    try:
        yield REGISTRIES
    finally:
        for registry, entries, sources in kept:
            registry._entries, registry._sources = entries, sources


@pytest.fixture
def registries():
    """Everything that the test adds to registries is removed after it."""
    with kept_registries() as kept:
        yield kept


@pytest.fixture
def small() -> dict:
    return small_spec()


# Runs that are trained once. Tests that change one take a copy.


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """The directory of a complete run of `small_spec()`."""
    path = tmp_path_factory.mktemp("small") / "run"
    run_sweep(small_spec(), path)
    return path


@pytest.fixture(scope="session")
def unit_run(tmp_path_factory) -> Path:
    """The same in six units."""
    path = tmp_path_factory.mktemp("units") / "run"
    run_sweep(small_spec(engine={"unit": 3}), path)
    return path
