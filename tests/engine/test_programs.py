"""Programs are compiled once, whatever numbers change, and kept on disk without a change of jax's settings."""

from collections import Counter
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import pytest
from conftest import digest, small_spec
from jax.experimental.compilation_cache import compilation_cache

import tmsjax
from tmsjax.engine import Ensemble, cache, programs
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

EVENTS = {"jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration"}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.1}
PATHS = ("auto", "scalars")  # compiled quickly, and for speed


@contextmanager
def counted():
    """Counts what jax traces, lowers and compiles."""
    counts = Counter()

    def count(event: str, seconds: float, **_) -> None:
        counts.update({event.rpartition("/")[2]} & EVENTS)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def first(path: str, **changes) -> dict:
    return small_spec(train=ADAMW, engine={"path": path}, **changes)


def second(path: str) -> dict:
    """Other numbers in place of all that are arguments of programs, and as many models in a block."""
    raw = small_spec(seed=2**35, engine={"path": path}, init={"bias_scale": 0.3})
    raw["axes"] = {"p": {"values": [0.9, 0.2]}, "rate": {"values": [1e-3, 0.02]}, "replica": {"count": 4}}
    raw["instance"] = {"importance": [2.0, 0.5], "feature_probability": ["p", 0.4], "init_scale": 1.1}
    raw["train"] |= ADAMW | {"steps": 47, "learning_rate": "rate", "weight_decay": 0.01}
    return raw


@pytest.mark.parametrize("path", PATHS)
def test_a_second_sweep_of_other_numbers_compiles_nothing_and_has_its_own_bits(path):
    run_sweep(first(path))
    with counted() as counts:
        warm = run_sweep(second(path)).dataset
    assert counts == {}
    programs._kept.cache_clear()
    with counted() as counts:
        cold = run_sweep(second(path)).dataset
    assert counts.keys() == EVENTS
    assert digest(warm) == digest(cold)
    with counted() as counts:
        sweep = Ensemble(load_spec(first(path)))
        assert sweep.programs is Ensemble(load_spec(second(path))).programs
        states = sweep.advance(sweep.init(), 3)
        assert int(sweep.advance(states, 11)[0].step) == 11
    assert counts == {}


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("path", PATHS)
def test_a_changed_activation_of_the_same_name_compiles_again(path):
    losses = []
    for slope in (1.0, 1.5):
        tmsjax.add_activation("mine", lambda v, slope=slope: slope * jnp.tanh(v))
        with counted() as counts:
            losses.append(run_sweep(first(path, model={"activation": "mine"})).dataset["loss"])
        assert counts.keys() == EVENTS
    assert (losses[0] != losses[1]).all()


@pytest.fixture
def no_folder(tmp_path, monkeypatch):
    """jax has no folder for programs, the user's cache is in the test's folder, and nothing is compiled yet."""
    names = cache.DIRECTORY, cache.LEAST_SECONDS
    before = [getattr(jax.config, name) for name in names]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def restart(*settings):
        for name, value in zip(names, settings, strict=True):
            jax.config.update(name, value)
        for kept in (programs._kept, cache._folder):
            kept.cache_clear()
        compilation_cache.reset_cache()

    restart(None, 2.5)
    yield restart
    restart(*before)


def test_programs_are_kept_in_the_users_cache_and_settings_of_jax_stay(tmp_path, no_folder):
    def files(folder: str) -> list:
        return sorted((tmp_path / folder).rglob("jit_strict-*-cache"))

    def settings() -> tuple:
        return jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs

    run_sweep(small_spec())
    assert settings() == (None, 2.5)
    assert (kept := files("cache/tmsjax"))
    assert files("") == kept
    mine = str(tmp_path / "mine")
    no_folder(mine, 0.0)
    run_sweep(small_spec())
    assert settings() == (mine, 0.0)
    assert len(files("mine")) == len(kept)
    assert files("cache/tmsjax") == kept
