"""Digests of small runs of every kind, to check that a refactoring leaves all results unchanged.

    python scripts/digests.py > before.txt       (about a minute; then change the code)
    python scripts/digests.py | diff before.txt -

Each line has truncated SHA-256 digests of a run's results, phase map, measures and comparison with theory. Compare only
lines from one machine with one version of jax: bits depend on both.
"""

import hashlib
import json
import warnings
from typing import Any

import xarray as xr

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
SAMPLED_LOSSES: Spec = {"record": {"measures": []}}
RUNS: dict[str, tuple[Spec, Spec]] = {
    "relu": (ONE_NEURON, {}),
    "relu, exact loss": (ONE_NEURON, {"train": {"loss": "exact"}}),
    "relu, shared stream": (ONE_NEURON, {"train": {"streams": "shared"}}),
    "relu, sobol stream": (ONE_NEURON, {"train": {"streams": "sobol"}}),
    "relu, tied activity": (ONE_NEURON, {"data": {"activity": "tied"}}),
    "relu, tied activity, masks, exact loss later": (ONE_NEURON, {"data": {"activity": "tied", "masks_per_batch": 4}}),
    "relu, masks": (ONE_NEURON, {"data": {"masks_per_batch": 4}}),
    "relu, stratified signs, biases": (ONE_NEURON, {"init": {"signs": "stratified", "bias_scale": 0.3}}),
    "relu, no bias, exact loss": (ONE_NEURON, {"model": {"family": "tied-no-bias"}, "train": {"loss": "exact"}}),
    "relu, small blocks and microbatches": (ONE_NEURON, {"engine": {"block": 5, "microbatch": 8}}),
    "linear": (ONE_NEURON, {"model": {"activation": "linear"}}),
    "linear, exact loss": (ONE_NEURON, {"model": {"activation": "linear"}, "train": {"loss": "exact"}}),
    "linear, tied activity, exact loss": (
        ONE_NEURON,
        {"model": {"activation": "linear"}, "train": {"loss": "exact"}, "data": {"activity": "tied"}},
    ),
    "gelu": (ONE_NEURON, {"model": {"activation": "gelu"}, **SAMPLED_LOSSES}),
    "constant values": (ONE_NEURON, {"data": {"values": "constant"}, **SAMPLED_LOSSES}),
    "half-normal values": (ONE_NEURON, {"data": {"values": "half-normal"}, **SAMPLED_LOSSES}),
    "five features": (FIVE, {}),
    "five features, no bias, tied, half-normal": (
        FIVE,
        {"model": {"family": "tied-no-bias"}, "data": {"activity": "tied", "values": "half-normal"}},
    ),
    "adamw": (FIVE, {"train": {"optimizer": "adamw", "schedule": "linear"}}),
    "adamw, its own decay": (FIVE, {"train": {"optimizer": "adamw", "weight_decay": 0.1}}),
    "sgd": (FIVE, {"train": {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine"}}),
    "rmsprop": (FIVE, {"train": {"optimizer": "rmsprop"}}),
    "three features, exact loss": (FIVE, {"model": {"features": 3}, "train": {"loss": "exact"}}),
    "arrays": (LARGE, {}),
    "arrays, adamw, shared, tied": (
        LARGE,
        {"train": {"optimizer": "adamw", "streams": "shared"}, "data": {"activity": "tied"}},
    ),
    "arrays, no bias, masks, constant": (
        LARGE,
        {"model": {"family": "tied-no-bias"}, "data": {"masks_per_batch": 2, "values": "constant"}},
    ),
    "arrays, linear, exact loss, sgd": (
        LARGE,
        {"model": {"activation": "linear"}, "train": {"loss": "exact", "optimizer": "sgd"}},
    ),
    "arrays, gelu, sobol, rmsprop": (
        LARGE,
        {
            "model": {"activation": "gelu", "features": 8, "hidden": 20},
            "train": {"streams": "sobol", "optimizer": "rmsprop"},
        },
    ),
}


def spec_of(name: str) -> dict:
    """A run's spec: its base with some keys of the tables changed."""
    base, changes = RUNS[name]
    tables = {table: {**base.get(table, {}), **changes.get(table, {})} for table in {**base, **changes}}
    return {"name": "digest", "seed": 7, **tables}


def digest(dataset: xr.Dataset) -> str:
    """A hash of the names, dimensions, types, shapes and bytes of all variables."""
    out = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].to_numpy()
        out.update(f"{name} {dataset[name].dims} {values.dtype} {values.shape}".encode() + values.tobytes())
    return out.hexdigest()[:16]


def main() -> None:
    for name in RUNS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tmsjax.run_sweep(spec_of(name))
            facts = [digest(run.dataset), digest(tmsjax.phase_map(run)), digest(tmsjax.measures(run))]
            compared = json.dumps(tmsjax.compare(run), sort_keys=True)
        facts.append(hashlib.sha256(compared.encode()).hexdigest()[:16])
        print("  ".join(facts), name, run.spec.hash[:8], flush=True)


if __name__ == "__main__":
    main()
