"""Digests of small runs of every kind, to check that a refactoring leaves all results unchanged.

    python scripts/digests.py > before.txt       (minutes; then change the code)
    python scripts/digests.py | diff before.txt -

Names after the script select lines. Each line has truncated SHA-256 digests of a run's parameters, of its losses, and
of all else: the rest of its results, phase map, measures and comparison with theory. Compare only lines from one
machine with one version of jax, as bits depend on both. It uses only the public face, so that it runs with an older
version, too: `PYTHONPATH=CHECKOUT python scripts/digests.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import tmsjax

Spec = dict[str, dict[str, Any]]  # table -> key -> value

ONE_NEURON: Spec = {
    "model": {"features": 2, "hidden": 1},
    "axes": {
        "feature_probability": {"log": [1.0, 0.05], "count": 4},
        "extra_importance": {"log": [0.2, 5.0], "count": 3},
        "replica": {"count": 4},
    },
    "instance": {
        "importance": [1.0, "extra_importance"],
        "feature_probability": "feature_probability",
        "init_scale": 0.8,
    },
    "train": {"steps": 40, "batch": 16, "learning_rate": 1e-2, "schedule": "cosine"},
}
FIVE: Spec = {
    "model": {"features": 5, "hidden": 2},
    "axes": {"probability": {"log": [0.9, 0.05], "count": 3}, "replica": {"count": 4}},
    "instance": {
        "feature_probability": "probability",
        "importance": {"first": 1.0, "ratio": 0.9, "permute": "replica"},
    },
    "train": {"steps": 40, "batch": 32, "learning_rate": 1e-2},
    "record": {"measures": ["loss", "norm", "superposition", "dimensionality", "W"], "steps": [0, 7, 40]},
}
LARGE: Spec = {
    "model": {"features": 40, "hidden": 10},
    "axes": {"probability": {"values": [0.5, 0.05]}, "replica": {"count": 2}},
    "instance": {"feature_probability": "probability", "importance": {"geometric": [1.0, 0.1]}},
    "train": {"steps": 15, "batch": 32, "learning_rate": 1e-2},
    "record": {"measures": ["loss"], "steps": [15]},
}
SMALL: Spec = {  # for entries of one kind, which multiply
    "model": {"features": 4, "hidden": 2},
    "axes": {"probability": {"log": [0.9, 0.1], "count": 2}, "replica": {"count": 2}},
    "instance": {"feature_probability": "probability"},
    "train": {"steps": 10, "batch": 16, "learning_rate": 1e-2},
    "record": {"measures": ["loss"], "steps": [10]},
}
WIDE: Spec = {**SMALL, "model": {"features": 24, "hidden": 8}}  # more weights than `SCALAR_LIMIT` on any device
FALLING = {"feature_probability": {"first": "probability", "ratio": 0.8}}
SAMPLED_LOSSES: Spec = {"record": {"measures": []}}

Line = tuple[str, Spec, Spec]  # path, base, changes of some keys of its tables
RUNS: dict[str, Line] = {
    "relu": ("scalars", ONE_NEURON, {}),
    "relu, exact loss": ("scalars", ONE_NEURON, {"train": {"loss": "exact"}}),
    "relu, shared stream": ("scalars", ONE_NEURON, {"train": {"streams": "shared"}}),
    "relu, sobol stream": ("scalars", ONE_NEURON, {"train": {"streams": "sobol"}}),
    "relu, tied activity": ("scalars", ONE_NEURON, {"data": {"activity": "tied"}}),
    "relu, tied activity, masks": ("scalars", ONE_NEURON, {"data": {"activity": "tied", "masks_per_batch": 4}}),
    "relu, masks": ("scalars", ONE_NEURON, {"data": {"masks_per_batch": 4}}),
    "relu, stratified signs, biases": ("scalars", ONE_NEURON, {"init": {"signs": "stratified", "bias_scale": 0.3}}),
    "relu, no bias, exact loss": (
        "scalars",
        ONE_NEURON,
        {"model": {"family": "tied-no-bias"}, "train": {"loss": "exact"}},
    ),
    "relu, small blocks and microbatches": ("scalars", ONE_NEURON, {"engine": {"block": 5, "microbatch": 8}}),
    "relu, units, best replicas": (
        "scalars",
        ONE_NEURON,
        {"engine": {"unit": 8}, "store": {"keep": "best"}, **SAMPLED_LOSSES},
    ),
    "relu, Pallas kernel": ("scalars", ONE_NEURON, {"engine": {"kernel": "pallas", "block": 64}}),
    "relu, attack": ("scalars", ONE_NEURON, {"train": {"attack": 0.1}, **SAMPLED_LOSSES}),
    "relu, training set": ("scalars", ONE_NEURON, {"data": {"samples": 24}, **SAMPLED_LOSSES}),
    "linear": ("scalars", ONE_NEURON, {"model": {"activation": "linear"}}),
    "linear, exact loss": ("scalars", ONE_NEURON, {"model": {"activation": "linear"}, "train": {"loss": "exact"}}),
    "linear, tied activity, exact loss": (
        "scalars",
        ONE_NEURON,
        {"model": {"activation": "linear"}, "train": {"loss": "exact"}, "data": {"activity": "tied"}},
    ),
    "gelu": ("scalars", ONE_NEURON, {"model": {"activation": "gelu"}, **SAMPLED_LOSSES}),
    "constant values": ("scalars", ONE_NEURON, {"data": {"values": "constant"}, **SAMPLED_LOSSES}),
    "half-normal values": ("scalars", ONE_NEURON, {"data": {"values": "half-normal"}, **SAMPLED_LOSSES}),
    "five features": ("scalars", FIVE, {}),
    "five features, no bias, tied, half-normal": (
        "scalars",
        FIVE,
        {"model": {"family": "tied-no-bias"}, "data": {"activity": "tied", "values": "half-normal"}},
    ),
    "five features, polygon": (
        "scalars",
        FIVE,
        {
            "instance": {"init_scale": 0.01, **FALLING},
            "init": {"polygon": 4, "polygon_norm": 1.1, "polygon_bias": -0.1},
            "data": {"activity": "one-hot"},
            "train": {"loss": "exact"},
        },
    ),
    "three features, exact loss": ("scalars", FIVE, {"model": {"features": 3}, "train": {"loss": "exact"}}),
    "arrays": ("arrays", LARGE, {}),
    "arrays, adamw, shared, tied": (
        "arrays",
        LARGE,
        {"train": {"optimizer": "adamw", "streams": "shared"}, "data": {"activity": "tied"}},
    ),
    "arrays, no bias, masks, constant": (
        "arrays",
        LARGE,
        {"model": {"family": "tied-no-bias"}, "data": {"masks_per_batch": 2, "values": "constant"}},
    ),
    "arrays, linear, exact loss, sgd": (
        "arrays",
        LARGE,
        {"model": {"activation": "linear"}, "train": {"loss": "exact", "optimizer": "sgd"}},
    ),
    "arrays, one-hot, exact loss": (
        "arrays",
        LARGE,
        {"instance": FALLING, "data": {"activity": "one-hot"}, "train": {"loss": "exact"}},
    ),
    "arrays, gelu, sobol, rmsprop": (
        "arrays",
        LARGE,
        {
            "model": {"activation": "gelu", "features": 8, "hidden": 20},
            "train": {"streams": "sobol", "optimizer": "rmsprop"},
        },
    ),
    "arrays, attack": ("arrays", LARGE, {"train": {"attack": 0.1}}),
    "arrays, training set": ("arrays", LARGE, {"data": {"samples": 100}}),
    "arrays, biases, small blocks": (
        "arrays",
        LARGE,
        {"init": {"bias_scale": 0.3}, "engine": {"block": 3, "microbatch": 8}},
    ),
    "arrays, polygon": (
        "arrays",
        LARGE,
        {"model": {"features": 70, "hidden": 2}, "init": {"polygon": 5, "polygon_bias": -0.1}},
    ),
}
ENTRIES: dict[str, dict[str, tuple[Spec, Spec]]] = {  # what -> entry -> changes on scalars, changes on arrays
    "family": {
        name: ({"model": {"family": name, **options}}, {"model": {"family": name, **options}})
        for name, options in (
            ("hidden-relu", dict[str, Any]()),
            ("absolute-value", {}),
            ("attention-score", {"activation": "linear", "ratio": 0.5}),
            ("attention-score-bias", {"activation": "linear", "ratio": 0.5}),
            ("attention-output", {"activation": "linear", "ratio": 0.5, "value_rank": 1}),
            ("sparse-autoencoder", {"latents": 6, "l1": 0.01}),
        )
    }
    | {"top-k-autoencoder": ({}, {"model": {"family": "top-k-autoencoder", "latents": 30, "active": 2}})},
    "activity": {
        name: ({"data": {"activity": name, **options}, "instance": instance},) * 2
        for name, options, instance in (
            ("groups", {"size": 2}, {}),
            ("correlated", {"size": 2, "correlation": 0.5}, {}),
            ("exclusive", {"size": 2}, {}),
            ("one-hot", {}, FALLING),
            (
                "exactly-k",
                {"active": 2},
                {"feature_probability": 0.3, "importance": {"first": 1, "ratio": "probability"}},
            ),
        )
    },
    "values": {
        "signed": ({"data": {"values": "signed"}},) * 2,
        "half-normal": ({}, {"data": {"values": "half-normal"}}),
    },
    "optimizer": {
        name: ({"train": {"optimizer": name, **options}},) * 2
        for name, options in {
            "adamw": {},
            "adamw-norm": {"weight_decay": -0.1},
            "sgd": {"momentum": 0.9, "weight_decay": 0.1},
            "rmsprop": {"momentum": 0.9},
        }.items()
    }
    | {"adamw, its own decay": ({"train": {"optimizer": "adamw", "weight_decay": 0.1}},) * 2},
    "schedule": {name: ({"train": {"schedule": name}},) * 2 for name in ("linear", "cosine")},
}
for kind, entries in ENTRIES.items():
    for entry, (on_scalars, on_arrays) in entries.items():
        if on_scalars:
            RUNS[f"{kind} {entry}, scalars"] = ("scalars", SMALL, on_scalars)
        RUNS[f"{kind} {entry}, arrays"] = ("arrays", WIDE, on_arrays)
HIDDEN_LAYERS = {  # lines whose data are the hidden layers of a run of the first line
    "hidden layers, scalars": ("scalars", {"model": {"features": 2, "hidden": 3, "family": "hidden-relu"}}),
    "hidden layers, arrays": ("arrays", {"model": {"features": 2, "hidden": 70, "family": "hidden-relu"}}),
}


def has_paths() -> bool:
    """Whether this version knows `engine.path`. An older one chooses by itself the path that each line names."""
    try:
        tmsjax.load_spec(spec_of("auto", SMALL, {}))
    except tmsjax.SpecError:
        return False
    return True


def spec_of(path: str | None, base: Spec, changes: Spec) -> dict:
    """`base` with some keys of the tables changed, on the path named; None: on the path that the version chooses."""
    tables = {table: {**base.get(table, {}), **changes.get(table, {})} for table in {**base, **changes}}
    if path is not None:
        tables["engine"] = {"path": path, **tables.get("engine", {})}
    return {"name": "digest", "seed": 7, **tables}


def sha(parts: Iterable[bytes]) -> str:
    """A truncated SHA-256 of all parts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def variables(dataset: Any, wanted: Callable[[str], bool]) -> Iterable[bytes]:
    """Names, dimensions, types, shapes and bytes of the variables that are wanted."""
    for name in sorted(filter(wanted, map(str, dataset.variables))):
        values = np.asarray(dataset[name])
        yield f"{name} {dataset[name].dims} {values.dtype} {values.shape}".encode() + values.tobytes()


def analysed(run: Any) -> Iterable[bytes]:
    """Phase map, measures and comparison with theory of a run, or that its models have none."""
    for analyse in (tmsjax.phase_map, tmsjax.measures, tmsjax.compare):
        try:
            found = analyse(run)
        except (tmsjax.RunError, tmsjax.SpecError):
            yield b"refused"
            continue
        if isinstance(found, dict):
            yield json.dumps(found, sort_keys=True).encode()
        else:
            yield from variables(found, lambda name: True)


def is_loss(name: str) -> bool:
    return name in ("loss", "history_loss")


def is_parameter(name: str) -> bool:
    return name[:1].isupper() or name == "b"


def digests(run: Any) -> list[str]:
    """Digests of a run's parameters, of its losses, and of all else."""
    rest = variables(run.dataset, lambda name: not is_loss(name) and not is_parameter(name))
    return [
        sha(variables(run.dataset, is_parameter)),
        sha(variables(run.dataset, is_loss)),
        sha([*rest, *analysed(run)]),
    ]


def main(chosen: list[str]) -> None:
    forced = has_paths()

    def show(name: str, path: str, base: Spec, changes: Spec, out: str | None = None) -> None:
        if chosen and name not in chosen:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tmsjax.run_sweep(spec_of(path if forced else None, base, changes), out=out)
            print("  ".join(digests(run)), name, flush=True)

    for name, line in RUNS.items():
        show(name, *line)
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "source")
        if not chosen or set(chosen) & set(HIDDEN_LAYERS):
            tmsjax.run_sweep(spec_of("scalars" if forced else None, SMALL, {}), out=source)
        for name, (path, changes) in HIDDEN_LAYERS.items():
            base = {table: keys for table, keys in SMALL.items() if table != "instance"}  # `data.run` decides
            show(name, path, base, {**changes, "data": {"run": source}})


if __name__ == "__main__":
    main(sys.argv[1:])
