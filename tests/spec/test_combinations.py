"""What can be chosen independently in a spec: each combination is refused for a listed reason, or trains.

`REASONS` lists every refusal between two choices. The tests try a set of specs in which every pair of values occurs
together; those marked slow try all combinations of three.
"""

import re
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import kept_registries

import tmsjax
from tmsjax.engine.ensemble import Ensemble
from tmsjax.errors import SpecError
from tmsjax.models import bind, check_spec
from tmsjax.models.trial import _trace
from tmsjax.runs.source import with_source
from tmsjax.spec import load_spec

N = 3
TIED = {"W": ("hidden", "feature"), "b": ("feature",)}
LARGE = np.array([[1.0, -2.0, 0.5]] * N, np.float32)


def tied(p, x, f):
    return f(p["W"].T @ (p["W"] @ x) + p["b"])


def add_entries() -> None:
    """An entry of each kind, as a user would add it; five families."""
    gain = {"gain": tmsjax.Option("quantity", default=1.0)}
    tmsjax.add_sampler(
        "pairs",
        columns=lambda n: 2 * n,
        sample=lambda u, p, *, size: jnp.where(u[: p.shape[0]] < p, size * u[p.shape[0] :], 0),
        options={"size": tmsjax.Option("features", default=1.0)},
    )
    tmsjax.add_loss(
        "own-loss",
        lambda target, output, importance, x, params, apply, gain: (
            gain * ((target - apply(x)) ** 2 * importance).sum() + 0.1 * sum((p**2).sum() for p in params.values())
        ),
        evaluation=lambda target, output: abs(target - output),
        options=gain,
    )
    tmsjax.add_init("own-rule", lambda params, instance, gain: {k: gain * v for k, v in params.items()}, options=gain)
    tmsjax.add_optimizer("lion", optax.lion, options={"b1": tmsjax.Option("quantity", default=0.9)})
    tmsjax.add_family(
        "noisy",
        parameters=TIED,
        apply=lambda p, x, f, noise: tied(p, x if noise is None else x * (noise[:N] < 0.9), f),
        noise=lambda n: n,
        directions=lambda p: p["W"],
    )
    tmsjax.add_family(
        "labelled",
        parameters={"W": ("hidden", "feature"), "R": ("output", "feature"), "V": ("output", "hidden")},
        apply=lambda p, x, f: p["V"] @ f(p["W"] @ x),
        target=lambda x, frozen: jax.nn.softmax(frozen["R"] @ x),
        outputs=lambda n: 2,
        frozen={"R"},
        directions=lambda p: p["W"],
    )
    tmsjax.add_family(
        "wide",
        parameters={"W": ("hidden", "feature"), "V": ("output", "hidden")},
        apply=lambda p, x, f: f(p["V"] @ (p["W"] @ x)),
        target=lambda x: jnp.concatenate([x, x * x]),
        outputs=lambda n: 2 * n,
        directions=lambda p: p["W"],
    )
    tmsjax.add_family(
        "given",
        parameters={**TIED, "G": ("feature", "feature")},
        apply=lambda p, x, f: tied(p, p["G"] @ x, f),
        frozen={"G": LARGE},
        directions=lambda p: p["W"],
    )


CHOICES = {
    "data": {
        "features": {},
        "groups": {"data": {"activity": "groups", "size": 3}},
        "shared-masks": {"data": {"sampler": "shared-masks", "masks": 4}},
        "scaled": {"data": {"sampler": "scaled", "magnitude": [1.0, 2.0, 0.5], "edges": [[0, 1]]}},
        "gaussian": {"data": {"sampler": "gaussian", "deviation": 0.1}},
        "drawn": {"data": {"file": "rows.npy"}},
        "epochs": {"data": {"file": "rows.npy", "epochs": 1}},
        "run": {"data": {"run": "three"}},
        "runs": {"data": {"run": ["one", "two"]}},
        "own": {"data": {"sampler": "pairs"}},
    },
    "loss": {
        "square": {},
        "power": {"loss": {"kind": "power", "exponent": 1.5}},
        "cross-entropy": {"loss": {"kind": "cross-entropy"}},
        "attacked": {"loss": {"kind": "attacked", "radius": 0.1}},
        "own": {"loss": {"kind": "own-loss"}},
    },
    "init": {
        "random": {},
        "stratified": {"init": {"rule": "stratified"}, "model": {"hidden": 1}},
        "polygon": {"init": {"rule": "polygon", "polygon": 3}},
        "own": {"init": {"rule": "own-rule"}},
    },
    "optimizer": {
        "adam": {},
        "adamw": {"train": {"optimizer": "adamw", "clip": 1.0}},
        "adamw-norm": {"train": {"optimizer": "adamw-norm", "weight_decay": -0.1}},
        "sgd": {"train": {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.1}},
        "rmsprop": {"train": {"optimizer": "rmsprop", "momentum": 0.5}},
        "own": {"train": {"optimizer": "lion", "weight_decay": 0.1}},
    },
    "schedule": {
        "constant": {},
        "cosine": {"train": {"schedule": "cosine", "warmup": 1.0, "rates": {"W": 0.5}}},
        "factors": {"train": {"rates": {"W": 0.5}, "decays": {"W": 0.5}}},
        "biases": {"train": {"rates": {"b": 0.5}}, "init": {"bias_scale": 0.1}},
    },
    "exact": {"no": {}, "yes": {"train": {"loss": "exact"}}},
    "streams": {s: {"train": {"streams": s}} for s in ("independent", "shared", "sobol")},
    "samples": {"fresh": {}, "finite": {"data": {"samples": 64}}},
    "family": {
        "tied": {},
        "linear": {"model": {"activation": "linear"}},
        "absolute-value": {"model": {"family": "absolute-value"}},
        "untied": {"model": {"family": "untied"}},
        "tied-hidden-identity": {"model": {"family": "tied-hidden-identity"}},
        "tied-hidden-random": {"model": {"family": "tied-hidden-random", "layers": 2}},
        "tied-hidden-trained": {"model": {"family": "tied-hidden-trained"}},
        "residual-mlp": {"model": {"family": "residual-mlp", "embedding": 4}},
        "top-k-autoencoder": {"model": {"family": "top-k-autoencoder", "active": 1}},
        "noisy": {"model": {"family": "noisy"}},
        "labelled": {"model": {"family": "labelled"}},
        "wide": {"model": {"family": "wide"}},
        "given": {"model": {"family": "given"}},
    },
    "noise": {"off": {}, "on": {"evaluation": {"noise": "on"}}},
}


BIASED = {"tied", "linear", "absolute-value", "untied", "noisy", "given", "top-k-autoencoder"}
BIASED |= {"tied-hidden-identity", "tied-hidden-random", "tied-hidden-trained"}
READS = {"run", "runs", "drawn", "epochs"}  # instead of drawing features


def reasons(c: dict[str, str]) -> dict[str, tuple[bool, str]]:
    """Key -> (whether it is refused for the choices `c`, what the message says). There are no other refusals."""
    tied, exact, sobol = c["family"] in ("tied", "linear"), c["exact"] == "yes", c["streams"] == "sobol"
    of_W = c["family"] not in ("residual-mlp", "top-k-autoencoder")
    by_parameter, rates_of_W = c["schedule"] == "factors", c["schedule"] in ("cosine", "factors")
    known = tied and c["loss"] == "square" and c["data"] in ("features", "groups")
    masked, finite = c["data"] == "shared-masks", c["samples"] == "finite"
    unused, parts = "does not use it; drop it", "has no trained parameter"
    needs_exact = exact and (c["loss"] != "square" or finite or masked)
    fresh = c["data"] in ("features", "groups", "scaled", "gaussian", "own") and not finite
    return {
        "train.loss": (exact and not known and not needs_exact, "no exact loss is known for this model"),
        "train.decays": (by_parameter and c["optimizer"] not in ("adamw", "sgd"), unused),
        "train.rates.W": (rates_of_W and not of_W, parts),
        "train.decays.W": (by_parameter and not of_W, parts),
        "train.rates.b": (c["schedule"] == "biases" and c["family"] not in BIASED, parts),
        "init.bias_scale": (c["schedule"] == "biases" and c["family"] not in BIASED, unused),
        "evaluation.noise": (c["noise"] == "on" and c["family"] != "noisy", unused),
        "data.samples": (finite and (exact or masked or c["data"] in READS or c["family"] == "noisy"), unused),
        "data.sampler": (masked and exact, unused),
        "train.streams": (sobol and not exact and not fresh, "'sobol' needs fresh samples"),
        "loss.kind": ((exact and c["loss"] != "square") or (c["loss"] == "attacked" and not tied), "drop it|needs a"),
        "train.optimizer": (c["optimizer"] == "adamw-norm" and not tied, r"needs a family whose output is f\(W\^T W x"),
        "init.rule": (c["init"] in ("stratified", "polygon") and not of_W, "needs a family with W"),
    }


def raw_spec(c: dict[str, str]) -> dict:
    """A spec with the choices `c`."""
    raw = {
        "name": "mixed",
        "model": {"features": N, "hidden": 2},
        "axes": {"replica": {"count": 2}},
        "instance": {"feature_probability": 0.5} if c["data"] not in READS else {},
        "train": {"steps": 2, "batch": 64},
        "record": {"steps": [2]},
        "engine": {"path": "arrays"},
    }
    for key, value in c.items():
        for table, values in CHOICES[key][value].items():
            raw[table] = {**raw.get(table, {}), **values}
    return raw


def refused(c: dict[str, str]) -> dict[str, str]:
    return {key: says for key, (holds, says) in reasons(c).items() if holds}


def covering(size: int, accepted: bool) -> list[dict[str, str]]:
    """Combinations in which every `size` values of different keys occur together, if any that is accepted has them.

    Each starts at some values that no other has together, and adds values of the other keys so as to bring in the most
    new ones. Values with which nothing can be accepted are left out if `accepted`.
    """
    first = {key: next(iter(values)) for key, values in CHOICES.items()}
    missing = {
        frozenset(zip(names, values, strict=True))
        for names in combinations(CHOICES, size)
        for values in product(*(CHOICES[key] for key in names))
    }
    found, seen = [], set()
    for start in sorted(missing, key=sorted):
        c = first | dict(start)
        if start in seen or (accepted and refused(c) and (c := freed(c, dict(start))) is None):
            continue
        for key in [key for key in CHOICES if key not in dict(start)]:
            options = [c | {key: v} for v in CHOICES[key] if not accepted or not refused(c | {key: v})]
            c = max(options, key=lambda other, key=key: len(tuples(other, size, key) - seen))
        seen |= tuples(c, size)
        found.append(c)
    return found


def tuples(c: dict[str, str], size: int, key: str | None = None) -> set[frozenset]:
    """`size` of the choices together: all such sets, or those with `key`."""
    if key is None:
        return {frozenset(some) for some in combinations(c.items(), size)}
    others = [pair for pair in c.items() if pair[0] != key]
    return {frozenset([(key, c[key]), *some]) for some in combinations(others, size - 1)}


def freed(c: dict[str, str], fixed: dict[str, str]) -> dict[str, str] | None:
    """`c` with one or two other values, so that it is accepted; None if there are none."""
    free = [key for key in CHOICES if key not in fixed]
    for count in (1, 2):
        for names in combinations(free, count):
            for values in product(*(CHOICES[key] for key in names)):
                if not refused(other := c | dict(zip(names, values, strict=True))):
                    return other
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the entries, the file and the runs that the choices name."""
    path = tmp_path_factory.mktemp("mixed")
    np.save(path / "rows.npy", np.random.default_rng(0).random((100, N)))
    with kept_registries():
        add_entries()
        for name, hidden in {"one": 1, "two": 2, "three": 3}.items():
            raw = {
                "name": name,
                "model": {"features": 4, "hidden": hidden},
                "instance": {"feature_probability": 0.5},
                "train": {"steps": 1, "batch": 16},
                "record": {"measures": []},
            }
            tmsjax.run_sweep(raw, path / name, progress=False)
        yield path


def loaded(c: dict[str, str], folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        spec = load_spec(raw_spec(c))
    return with_source(spec)


def check(c: dict[str, str], folder) -> None:
    """The choices are refused with the listed reasons, or their losses can be traced."""
    if expected := refused(c):
        with pytest.raises(SpecError) as raised:
            loaded(c, folder)
        assert sorted(key for key, _ in raised.value.problems) == sorted(expected), (c, raised.value)
        for key, message in raised.value.problems:
            assert re.search(expected[key], message), (key, message)
        return
    spec = loaded(c, folder)
    check_spec(spec)
    problem = bind(spec)
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    word = jax.ShapeDtypeStruct((problem.columns,), np.uint32)
    _trace(problem)
    assert jax.eval_shape(problem.loss, params, problem.instance, word, word).shape == ()
    assert problem.frozen <= problem.shapes.keys()


def test_pairs_of_choices_are_refused_for_a_listed_reason_or_have_gradients(folder):
    for c in [*covering(2, accepted=True), *covering(2, accepted=False)]:
        check(c, folder)


@pytest.mark.slow
def test_choices_of_three_are_refused_for_a_listed_reason_or_have_gradients(folder):
    for c in [*covering(3, accepted=True), *covering(3, accepted=False)]:
        check(c, folder)


def train(c: dict[str, str], folder) -> None:
    spec = loaded(c, folder)
    sweep = Ensemble(spec)
    states = sweep.advance(sweep.init(), spec.train.steps)
    assert np.isfinite(sweep.noise_free_loss(states)).all(), c
    problem, params = bind(spec), sweep.gather(states).params
    assert params.keys() == problem.shapes.keys()
    assert all(np.isfinite(value).all() for value in params.values()), c


def test_a_few_accepted_combinations_train(folder):
    for c in covering(2, accepted=True)[::48]:
        train(c, folder)


@pytest.mark.slow
def test_all_accepted_pairs_train(folder):
    for c in covering(2, accepted=True):
        train(c, folder)
