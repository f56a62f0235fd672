"""What first.py measures, each call in a fresh process: first sweeps, and trainings in this and two other ways.

Seconds are (wall, processor), from after the imports to numpy results. Imports only `run_sweep` of tmsjax, and nothing
of the benchmark, so that it measures other checkouts, too.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

STEPS, BATCH, RATE, PROBABILITY = 1000, 1024, 1e-2, 0.1
CALLS: dict[str, tuple[str, ...]] = {  # changes of the first sweep, in this order in one process
    "first": (),
    "again": (),
    "new seed": ("seed=1",),
    "learning rate, steps": ("train.learning_rate=0.02", "train.steps=30"),
    "3 replicas": ("axes.replica.count=3",),
    "activation": ("model.activation=linear",),
}


def now() -> np.ndarray:
    """The (wall, processor) clocks of this process in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def sweep(n: int, m: int, replicas: int, steps: int, batch: int) -> dict:
    """A sweep over seeds, as a user writes it."""
    return {
        "name": "first",
        "model": {"features": n, "hidden": m},
        "axes": {"replica": {"count": replicas}},
        "instance": {"feature_probability": PROBABILITY, "importance": 1.0},
        "train": {"steps": steps, "batch": batch, "learning_rate": RATE},
    }


def calls(n: int, m: int, count: int) -> dict:
    """Runs in the process: the seconds of the first `count` CALLS, 4 models and 20 steps of batch 64 each."""
    from tmsjax import run_sweep

    seconds = {}
    for call, changes in list(CALLS.items())[:count]:
        start = now()
        run_sweep(sweep(n, m, 4, 20, 64), overrides=changes, progress=False).dataset["loss"].to_numpy()
        seconds[call] = list(now() - start)
    return seconds


def engine(n: int, m: int, seeds: int) -> dict:
    """Runs in the process: trains with `run_sweep`, which also computes noise-free losses."""
    from tmsjax import run_sweep

    start = now()
    trained = run_sweep(sweep(n, m, seeds, STEPS, BATCH), progress=False).dataset
    W, b = trained["W"].to_numpy(), trained["b"].to_numpy()
    return {"seconds": {seeds: list(now() - start)}, "loss": best_loss(zip(W, b, strict=True))}


def vmap(n: int, m: int, seeds: int) -> dict:
    """Runs in the process: trains with `jax.jit(jax.vmap(train))`, a scan over steps."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.adam(RATE)

    def loss(params: Any, x: Any) -> Any:
        W, b = params
        return jnp.mean(jnp.sum((jax.nn.relu(x @ W.T @ W + b) - x) ** 2, axis=1))

    def step(carry: Any, key: Any) -> tuple:
        params, state = carry
        values, active = jax.random.split(key)
        x = jax.random.uniform(values, (BATCH, n)) * jax.random.bernoulli(active, PROBABILITY, (BATCH, n))
        updates, state = optimizer.update(jax.grad(loss)(params, x), state)
        return (optax.apply_updates(params, updates), state), None

    def train(key: Any) -> Any:
        init, key = jax.random.split(key)
        params = jax.nn.initializers.glorot_normal()(init, (m, n)), jnp.zeros(n)
        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, STEPS))[0][0]

    start = now()
    W, b = map(np.asarray, jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), seeds)))
    return {"seconds": {seeds: list(now() - start)}, "loss": best_loss(zip(W, b, strict=True))}


def torch(n: int, m: int, *seeds: int) -> dict:
    """Runs in the process: trains one model after another with PyTorch; the seconds after each number in `seeds`.

    One thread, as such small models are slower on two; what Adam imports in its first step is imported beforehand.
    """
    import torch
    import torch._dynamo

    torch.set_num_threads(1)
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    seconds, trained = {}, []
    start = now()
    for seed in range(max(seeds)):
        torch.manual_seed(seed)
        W = torch.nn.Parameter(torch.nn.init.xavier_normal_(torch.empty(m, n)))
        b = torch.nn.Parameter(torch.zeros(n))
        optimizer = torch.optim.Adam([W, b], lr=RATE)
        for _ in range(STEPS):
            x = torch.rand(BATCH, n) * (torch.rand(BATCH, n) < PROBABILITY)
            loss = ((torch.relu(x @ W.T @ W + b) - x) ** 2).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trained.append([p.detach().cpu().numpy() for p in (W, b)])
        if seed + 1 in seeds:
            seconds[seed + 1] = list(now() - start)
    return {"seconds": seconds, "loss": best_loss(trained)}


def best_loss(models: Iterable[Any]) -> float:
    """The least loss of models (W (m, n), b (n,)), on the same samples whoever trained them."""
    losses = []
    for W, b in models:
        rng = np.random.default_rng(0)
        shape = (50_000, len(b))
        x = rng.random(shape) * (rng.random(shape) < PROBABILITY)
        losses.append(float(np.mean(np.sum((np.maximum(x @ W.T @ W + b, 0) - x) ** 2, axis=1))))
    return min(losses)


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    print(json.dumps({f.__name__: f for f in (calls, engine, vmap, torch)}[name](*map(int, numbers))))
