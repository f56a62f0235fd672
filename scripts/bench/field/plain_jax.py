"""The models of the field in plain JAX, as a researcher writes them: one model's training, a `lax.scan`, under vmap.

Like its sources, each draws two uniforms per feature: one for activity, one for the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.random import normal, split, uniform
from jax.scipy.special import ndtri

Tree = dict[str, jax.Array]
SCAN = 10  # steps


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        init: key -> the trained parameters.
        sample: (key, batch) -> x (batch, inputs).
        error: (all parameters, x, key) -> the loss of each sample, (batch,). `key` is None without noise.
        optimizer: Number of training steps -> the optimizer.
        frozen: key -> parameters that are not trained.
        penalty: (all parameters, x) -> what training adds to the loss of each sample.
    """

    init: Callable[[Any], Tree]
    sample: Callable[[Any, int], jax.Array]
    error: Callable[[Tree, jax.Array, Any], jax.Array]
    optimizer: Callable[[int], optax.GradientTransformation] = lambda steps: optax.adam(3e-3)
    frozen: Callable[[Any], Tree] = lambda key: {}
    penalty: Callable[[Tree, jax.Array], jax.Array | float] = field(default=lambda p, x: 0.0)


class Trainer:
    """Models that train together; each call of `train` continues."""

    def __init__(self, row: str, folder: Path, models: int, batch: int, steps: int):
        self.model: Model = MODELS[row](folder)
        self.batch, self.optimizer = batch, self.model.optimizer(steps)
        self.state = jax.jit(jax.vmap(self._init))(split(jax.random.key(0), models))
        self.advance = jax.jit(jax.vmap(self._advance, in_axes=(0, None)), static_argnums=1)

    def _init(self, key: Any) -> tuple:
        init_key, frozen_key, key = split(key, 3)
        params = self.model.init(init_key)
        return params, self.optimizer.init(params), self.model.frozen(frozen_key), key

    def _advance(self, state: tuple, steps: int) -> tuple:
        def step(state: tuple, _: None) -> tuple:
            params, opt_state, frozen, key = state
            key, sample_key, noise_key = split(key, 3)
            x = self.model.sample(sample_key, self.batch)

            def loss(params: Tree) -> jax.Array:
                everything = {**params, **frozen}
                return jnp.mean(self.model.error(everything, x, noise_key) + self.model.penalty(everything, x))

            updates, opt_state = self.optimizer.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state, frozen, key), None

        return jax.lax.scan(step, state, None, steps)[0]

    def train(self, steps: int) -> None:
        """Goes on for `steps` steps, a multiple of SCAN, so that only one scan is compiled."""
        for _ in range(steps // SCAN):
            self.state = self.advance(self.state, SCAN)
        jax.block_until_ready(self.state)

    def loss(self, samples: int) -> float:
        """The mean over models of the loss without noise and penalty, on fresh samples."""

        def one(state: tuple) -> jax.Array:
            params, _, frozen, key = state
            return self.model.error({**params, **frozen}, self.model.sample(key, samples), None).mean()

        return float(jax.jit(jax.vmap(one))(self.state).mean())


def sparse(key: Any, batch: int, n: int, p: Any, low: float = 0.0) -> jax.Array:
    """Independent features, active with probability p, uniform on [low, 1)."""
    active_key, value_key = split(key)
    return (uniform(active_key, (batch, n)) < p) * uniform(value_key, (batch, n), minval=low)


def squared(target: jax.Array, output: jax.Array) -> jax.Array:
    return ((target - output) ** 2).sum(-1)


def normals(std: float, **shapes: tuple[int, ...]) -> Callable[[Any], Tree]:
    """An init: every parameter normal with this standard deviation, biases b zero."""

    def init(key: Any) -> Tree:
        keys = split(key, len(shapes))
        return {
            name: jnp.zeros(shape) if name == "b" else std * normal(k, shape)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    return init


def tied(p: Tree, x: jax.Array, key: Any) -> jax.Array:
    return squared(x, jax.nn.relu(x @ p["W"].T @ p["W"] + p["b"]))


def untied(folder: Path) -> Model:
    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        return squared(x, jax.nn.relu(x @ p["W"].T @ p["V"].T + p["b"]))

    return Model(normals(0.3, W=(2, 5), V=(5, 2), b=(5,)), partial(sparse, n=5, p=0.1), error)


def through_hidden(p: Tree, x: jax.Array, key: Any) -> jax.Array:
    return squared(x, jax.nn.relu(x @ p["W"].T @ p["H"].T @ p["W"] + p["b"]))


def hidden_identity(folder: Path) -> Model:
    return Model(
        normals(0.5, W=(2, 5), b=(5,)),
        partial(sparse, n=5, p=0.05),
        through_hidden,
        lambda steps: optax.adamw(5e-3, weight_decay=0.01),
        frozen=lambda key: {"H": jnp.eye(2)},
    )


def hidden_trained(folder: Path) -> Model:
    def init(key: Any) -> Tree:
        return {**normals(0.5, W=(2, 5), b=(5,))(key), "H": jnp.eye(2)}

    adamw = optax.adamw(5e-3, weight_decay=0.01)
    return Model(init, partial(sparse, n=5, p=0.05), through_hidden, lambda steps: adamw)


def _residual_mlp(n: int, neurons: int, width: int, p: float) -> Model:
    def frozen(key: Any) -> Tree:
        E = normal(key, (width, n))
        return {"E": E / jnp.linalg.norm(E, axis=0)}

    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        r = x @ p["E"].T
        r = r + jax.nn.relu(r @ p["W"].T) @ p["V"].T
        return squared(x + jax.nn.relu(x), r @ p["E"])

    def init(key: Any) -> Tree:
        read, write = split(key)
        W = uniform(read, (neurons, width), minval=-1.0) / width**0.5
        return {"W": W, "V": uniform(write, (width, neurons), minval=-1.0) / neurons**0.5}

    def optimizer(steps: int) -> optax.GradientTransformation:
        return optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=0.01)

    return Model(init, partial(sparse, n=n, p=p, low=-1.0), error, optimizer, frozen)


def residual_mlp(folder: Path) -> Model:
    return _residual_mlp(20, 10, 40, 0.05)


def residual_mlp_100(folder: Path) -> Model:
    return _residual_mlp(100, 50, 1000, 0.01)


def hierarchy(folder: Path) -> Model:
    def sample(key: Any, batch: int) -> jax.Array:
        active_key, value_key = split(key)
        own = uniform(active_key, (batch, 6)) < jnp.array([0.2, 0.5, 0.5, 0.2, 0.5, 0.5])
        active = own & own[:, jnp.array([0, 0, 0, 3, 3, 3])]
        return active * uniform(value_key, (batch, 6))

    return Model(normals(0.4, W=(3, 6), b=(6,)), sample, tied)


def copula(folder: Path) -> Model:
    correlation = np.eye(5)
    correlation[0, 1:] = correlation[1:, 0] = 0.4
    root = jnp.asarray(np.linalg.cholesky(correlation), jnp.float32)

    def sample(key: Any, batch: int) -> jax.Array:
        active_key, value_key = split(key)
        active = normal(active_key, (batch, 5)) @ root.T < ndtri(0.2)
        return active * uniform(value_key, (batch, 5))

    return Model(normals(0.4, W=(2, 5), b=(5,)), sample, tied)


def circle(folder: Path) -> Model:
    rows = jnp.asarray(np.load(folder / "circle.npy"), jnp.float32)

    def sample(key: Any, batch: int) -> jax.Array:
        return rows[jax.random.randint(key, (batch,), 0, len(rows))]

    return Model(normals(0.3, W=(3, 10), b=(10,)), sample, tied)


def scaled_child(folder: Path) -> Model:
    def sample(key: Any, batch: int) -> jax.Array:
        x = sparse(key, batch, 6, jnp.array([0.2, 0.5, 0.5, 0.2, 0.5, 0.5]))
        return x.at[:, jnp.array([1, 2, 4, 5])].multiply(x[:, jnp.array([0, 0, 3, 3])])

    return Model(normals(0.4, W=(3, 6), b=(6,)), sample, tied)


def magnitudes(folder: Path) -> Model:
    mean, deviation = jnp.linspace(0.5, 1.5, 6), jnp.full(6, 0.15)

    def sample(key: Any, batch: int) -> jax.Array:
        active_key, value_key = split(key)
        active = uniform(active_key, (batch, 6)) < 0.1
        return active * jax.nn.relu(mean + deviation * normal(value_key, (batch, 6)))

    return Model(normals(0.4, W=(3, 6), b=(6,)), sample, tied)


def fourth_power(folder: Path) -> Model:
    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        return ((jax.nn.relu(x) - jax.nn.relu(x @ p["W"].T) @ p["V"].T) ** 4).sum(-1)

    def optimizer(steps: int) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    return Model(normals(0.3, W=(1, 10), V=(10, 1)), partial(sparse, n=10, p=0.02, low=-1.0), error, optimizer)


def noisy_labels(folder: Path) -> Model:
    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        return squared(jax.nn.relu(x) + x @ p["M"].T, jax.nn.relu(x @ p["W"].T) @ p["V"].T)

    frozen = normals(0.05, M=(10, 10))
    return Model(normals(0.3, W=(5, 10), V=(10, 5)), partial(sparse, n=10, p=0.1, low=-1.0), error, frozen=frozen)


def universal_and(folder: Path) -> Model:
    first, second = np.triu_indices(8, 1)

    def sample(key: Any, batch: int) -> jax.Array:
        return (uniform(key, (batch, 8)) < 0.25).astype(jnp.float32)

    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        return squared(x[:, first] * x[:, second], jax.nn.relu(x @ p["W"].T + p["b"]) @ p["V"].T + p["c"])

    return Model(normals(0.3, W=(16, 8), b=(16,), V=(28, 16), c=(28,)), sample, error)


def hidden_noise(folder: Path) -> Model:
    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        h = x @ p["W"].T
        h = h if key is None else h + 0.1 * normal(key, h.shape)
        return squared(x, jax.nn.relu(h @ p["W"] + p["b"]))

    return Model(normals(0.4, W=(2, 5), b=(5,)), partial(sparse, n=5, p=0.1), error)


def crosscoder(folder: Path) -> Model:
    W = jnp.concatenate([jnp.asarray(np.load(folder / f"toy-{k}.npy")) for k in (0, 1)])

    def latents(p: Tree, a: jax.Array) -> jax.Array:
        return jax.nn.relu(a @ p["E"].T + p["b"])

    def error(p: Tree, a: jax.Array, key: Any) -> jax.Array:
        return squared(a, latents(p, a) @ p["D"].T)

    def penalty(p: Tree, a: jax.Array) -> jax.Array:
        norms = jnp.linalg.norm(p["D"][:2], axis=0) + jnp.linalg.norm(p["D"][2:], axis=0)
        return 0.02 * (latents(p, a) * norms).sum(-1)

    def sample(key: Any, batch: int) -> jax.Array:
        return sparse(key, batch, 5, 0.1) @ W.T

    return Model(normals(0.5, E=(8, 4), b=(8,), D=(4, 8)), sample, error, penalty=penalty)


def recall(folder: Path) -> Model:
    def error(p: Tree, x: jax.Array, key: Any) -> jax.Array:
        def step(h: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jax.nn.relu(h @ p["A"].T + now @ p["W"].T)
            return h, h @ p["V"].T

        x = x.reshape(-1, 6, 3).swapaxes(0, 1)
        outputs = jax.lax.scan(step, jnp.zeros((x.shape[1], 6)), x)[1]
        return squared(x[:-2], outputs[2:]).sum(0)

    return Model(normals(0.4, W=(6, 3), A=(6, 6), V=(3, 6)), partial(sparse, n=18, p=0.2), error)


def exactly_k(folder: Path) -> Model:
    def sample(key: Any, batch: int) -> jax.Array:
        ranks = uniform(key, (batch, 8)).argsort(-1).argsort(-1)
        return (ranks < 2).astype(jnp.float32)

    return Model(normals(0.4, W=(3, 8), b=(8,)), sample, tied)


def signed_decay(folder: Path) -> Model:
    """Liu et al.: power-law frequencies, a decay that draws norms to 1, warm-up and a floor, another rate for b."""
    rate, decay = 1e-2, 0.1

    def norm_decay(updates: Tree, state: optax.EmptyState, params: Tree | None) -> tuple[Tree, optax.EmptyState]:
        assert params is not None
        W = params["W"]
        excess = 1 - 1 / (jnp.linalg.norm(W, axis=0) + 1e-8)
        return {**updates, "W": updates["W"] + decay * excess * W}, state

    def optimizer(steps: int) -> optax.GradientTransformation:
        schedule = optax.warmup_cosine_decay_schedule(0.0, rate, 100, steps, 0.1 * rate)
        return optax.chain(
            optax.scale_by_adam(),
            optax.GradientTransformation(lambda params: optax.EmptyState(), norm_decay),
            optax.scale_by_learning_rate(schedule),
            optax.masked(optax.scale(0.4), {"W": False, "b": True}),
        )

    frequencies = 1.8 / (1 / jnp.arange(1, 21)).sum() / jnp.arange(1, 21)
    return Model(normals(0.2, W=(5, 20), b=(20,)), partial(sparse, n=20, p=frequencies), tied, optimizer)


MODELS: dict[str, Callable[[Path], Model]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        untied, hidden_identity, hidden_trained, residual_mlp, residual_mlp_100, hierarchy, copula, circle,
        scaled_child, magnitudes, fourth_power, noisy_labels, universal_and, hidden_noise, crosscoder, recall,
        exactly_k, signed_decay,
    )
}  # fmt: skip
