"""The benchmark: the engine beside a plain vmap of the same training run, one process, alternating rounds.

The plain version is what a JAX user writes first: W as an array, jax.random keys per instance, a lax.scan over steps,
one vmap over instances, a thread a core. It draws two uniforms a feature, one for activity and one for the value.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tmsjax.ensemble import Ensemble, cores
from tmsjax.spec import Spec, load_spec
from tmsjax.store import provenance
from tmsjax.sweep import device_line

SECONDS = 1.5  # aimed at for each timing
BATCH = 64


def spec_of(instances: int, streams: str = "independent") -> Spec:
    """The flagship's training (n = 2, m = 1) for `instances` probabilities."""
    return load_spec(
        {
            "name": "bench",
            "model": {"features": 2, "hidden": 1},
            "axes": {"feature_probability": {"log": [1.0, 0.01], "count": instances}},
            "instance": {"feature_probability": "feature_probability", "init_scale": 0.8},
            "train": {
                "steps": 6000,
                "batch": BATCH,
                "learning_rate": 1e-2,
                "schedule": "cosine",
                "streams": streams,
            },
        }
    )


class Engine:
    """This package, from step 0 for a number of steps."""

    def __init__(self, spec: Spec):
        self.ensemble = Ensemble(spec)

    def run(self, steps: int) -> dict[str, np.ndarray]:
        states = self.ensemble.advance(self.ensemble.init(), steps)
        return self.ensemble.gather(states).params


class PlainVmap:
    """The textbook way, for the same models, data distribution, optimizer and schedule."""

    def __init__(self, spec: Spec):
        self.probability = jnp.asarray(spec.evaluate("feature_probability").reshape(-1), jnp.float32)
        optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, spec.train.steps))

        def loss(params: Any, x: jax.Array) -> jax.Array:
            output = jax.nn.relu(x @ params["W"].T @ params["W"] + params["b"])
            return jnp.mean(jnp.sum((output - x) ** 2, axis=-1))

        def train(key: jax.Array, probability: jax.Array, steps: int) -> Any:
            init_key, key = jax.random.split(key)
            params = {"W": 0.8 * jax.random.normal(init_key, (1, 2)), "b": jnp.zeros(2)}

            def step(carry: Any, _: None) -> tuple:
                params, opt_state, key = carry
                key, active_key, value_key = jax.random.split(key, 3)
                active = jax.random.uniform(active_key, (BATCH, 2)) < probability
                x = active * jax.random.uniform(value_key, (BATCH, 2))
                updates, opt_state = optimizer.update(jax.grad(loss)(params, x), opt_state)
                return (optax.apply_updates(params, updates), opt_state, key), None

            carry, _ = jax.lax.scan(step, (params, optimizer.init(params), key), None, steps)
            return carry[0]

        self.train = jax.jit(jax.vmap(train, in_axes=(0, 0, None)), static_argnums=2)
        self.keys = jax.random.split(jax.random.key(0), len(self.probability))
        self.shares = (
            [slice(k, None, cores()) for k in range(cores())] if jax.default_backend() == "cpu" else [slice(None)]
        )

    def run(self, steps: int) -> dict[str, np.ndarray]:
        def share(rows: slice) -> Any:
            return jax.block_until_ready(self.train(self.keys[rows], self.probability[rows], steps))

        with ThreadPoolExecutor(len(self.shares)) as pool:
            parts = list(pool.map(share, self.shares))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def bench(instances: int, rounds: int, say: Callable[[str], None]) -> dict:
    """Samples/s of each way, medians over alternating rounds, and the engine's ratio to the plain vmap."""
    instances = max(instances - instances % cores(), cores())  # the plain version shares them evenly among the cores
    ways: dict[str, Any] = {
        "engine, independent streams": Engine(spec_of(instances)),
        "engine, shared stream": Engine(spec_of(instances, "shared")),
        "plain vmap": PlainVmap(spec_of(instances)),
    }
    say(f"device: {device_line(jax.devices())}")
    say(f"n = 2, m = 1, relu, adam, batch {BATCH}, {instances:,} models")
    steps = {name: _steps_for(way, SECONDS) for name, way in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(instances * BATCH * steps[name] / _seconds(way, steps[name]))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        ratio = medians["engine, independent streams"] / medians[name]
        say(
            f"{name:30s} {medians[name]:.3e} samples/s  ({min(values):.3e} to {max(values):.3e})  "
            f"engine is {ratio:.2f} x as fast"
        )
    return provenance() | {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_line(jax.devices()),
        "python": platform.python_version(),
        "instances": instances,
        "batch": BATCH,
        "rounds": rounds,
        "samples_per_second": rates,
        "ratio_to_plain_vmap": medians["engine, independent streams"] / medians["plain vmap"],
    }


def _steps_for(way: Any, seconds: float) -> int:
    """Steps that take about `seconds`, found by doubling; compiled for exactly that number."""
    steps = 1
    while steps < 4096:
        way.run(steps)
        taken = _seconds(way, steps)
        if taken > seconds / 4:
            steps = max(1, round(steps * seconds / taken))
            break
        steps *= 4
    way.run(steps)
    return steps


def _seconds(way: Any, steps: int) -> float:
    start = time.perf_counter()
    way.run(steps)
    return time.perf_counter() - start
