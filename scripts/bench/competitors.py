"""Other ways to train the same models, written for the benchmark in the style of their sources.

All learn what the engine learns: the same models, importances, feature probabilities, init scale, Adam with the same
learning rates and cosine schedule, and fresh samples with independent activity for every step, sample and feature
(tests/bench/test_bench.py compares the losses that they reach). Like its source, each draws two uniforms per feature,
one for activity and one for the value.

- TextbookJax: `vmap` of one model's whole training run, a `lax.scan` over steps with a key per instance. Its exact
  loss is the formula of models/expected.py on arrays.
- TorchMatmul: batched `torch.matmul` over (batch, instances, ...) tensors, as in the public replication that trained
  1,000,000 models (github zroe1/toy-models-of-superposition), without its broadcasting error.
- TorchEinsum: `torch.einsum` over instances, as in the paper's released notebook.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tmsjax.engine import cores
from tmsjax.models import exact_loss, instances
from tmsjax.spec import Spec


class TextbookJax:
    """One model's training as a pure function, vmapped. On CPU, one thread per core trains a share of the models."""

    def __init__(self, spec: Spec):
        table = instances(spec)
        self.spec = spec
        features, hidden, batch = spec.model.features, spec.model.hidden, spec.train.batch
        activation = {"relu": jax.nn.relu, "linear": lambda v: v}[spec.model.activation]

        def train(key: jax.Array, row: Any, steps: int) -> Any:
            optimizer = optax.adam(optax.cosine_decay_schedule(row.learning_rate, spec.train.steps))

            def loss(params: Any, x: jax.Array) -> jax.Array:
                output = activation(x @ params["W"].T @ params["W"] + params["b"])
                return jnp.mean(jnp.sum(row.importance * (output - x) ** 2, axis=-1))

            def exact(params: Any) -> Any:
                return exact_loss(params["W"], params["b"], row.importance, row.feature_probability)

            def step(carry: Any, _: None) -> tuple:
                params, opt_state, key = carry
                if spec.train.loss == "exact":
                    updates, opt_state = optimizer.update(jax.grad(exact)(params), opt_state)
                    return (optax.apply_updates(params, updates), opt_state, key), None
                key, active_key, value_key = jax.random.split(key, 3)
                active = jax.random.uniform(active_key, (batch, features)) < row.feature_probability
                x = active * jax.random.uniform(value_key, (batch, features))
                updates, opt_state = optimizer.update(jax.grad(loss)(params, x), opt_state)
                return (optax.apply_updates(params, updates), opt_state, key), None

            init_key, key = jax.random.split(key)
            W = row.init_scale * jax.random.normal(init_key, (hidden, features))
            params = {"W": W, "b": jnp.zeros(features)}
            carry, _ = jax.lax.scan(step, (params, optimizer.init(params), key), None, steps)
            return carry[0]

        self.train = jax.jit(jax.vmap(train, in_axes=(0, 0, None)), static_argnums=2)
        self.keys = jax.random.split(jax.random.key(0), spec.instances)
        parts = min(cores(), spec.instances) if jax.default_backend() == "cpu" else 1
        bounds = [spec.instances * k // parts for k in range(parts + 1)]
        self.shares = [slice(a, b) for a, b in pairwise(bounds)]
        self.table = jax.tree.map(jnp.asarray, table)

    def run(self, steps: int) -> dict[str, np.ndarray]:
        """Trains from init for `steps` steps. Returns W (instances, hidden, features), b (instances, features)."""

        def share(rows: slice) -> Any:
            mine = jax.tree.map(lambda leaf: leaf[rows], self.table)
            with jax.numpy_rank_promotion("allow"):
                return jax.block_until_ready(self.train(self.keys[rows], mine, steps))

        with ThreadPoolExecutor(len(self.shares)) as pool:
            parts = list(pool.map(share, self.shares))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


class _Torch:
    """Base of both PyTorch styles: parameters, Adam, the schedule and the loop over steps."""

    shape: tuple[str, str]  # dimensions of one model's W

    def __init__(self, spec: Spec):
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(cores())
        self.torch, self.spec = torch, spec
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        table = instances(spec)
        self.importance = self._tensor(table.importance)
        self.probability = self._tensor(table.feature_probability)
        self.scale = self._tensor(table.init_scale)[:, None, None]
        rates = set(table.learning_rate.tolist())
        if len(rates) > 1:
            raise ValueError("the PyTorch styles support only one learning rate for all models")
        self.rate = rates.pop()
        self.activation = {"relu": torch.relu, "linear": lambda v: v}[spec.model.activation]

    def _tensor(self, array: Any) -> Any:
        return self.torch.tensor(array, device=self.device)

    def _parameters(self) -> tuple[Any, Any]:
        model = self.spec.model
        size = {"features": model.features, "hidden": model.hidden}
        W = self.scale * self.torch.randn(self.spec.instances, *(size[d] for d in self.shape), device=self.device)
        b = self.torch.zeros(self.spec.instances, model.features, device=self.device)
        return W.requires_grad_(), b.requires_grad_()

    def _samples(self) -> Any:
        """Fresh samples, shape (batch, instances, features)."""
        shape = (self.spec.train.batch, self.spec.instances, self.spec.model.features)
        active = self.torch.rand(shape, device=self.device) < self.probability
        return active * self.torch.rand(shape, device=self.device)

    def run(self, steps: int) -> dict[str, np.ndarray]:
        """Trains from init for `steps` steps. Returns W (instances, hidden, features), b (instances, features)."""
        W, b = self._parameters()
        optimizer = self.torch.optim.Adam([W, b], lr=self.rate)
        for k in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (1 + math.cos(math.pi * k / self.spec.train.steps)) / 2
            optimizer.zero_grad(set_to_none=True)
            self._loss(W, b, self._samples()).backward()
            optimizer.step()
        W = W.detach().cpu().numpy()
        return {"W": W if self.shape[0] == "hidden" else W.swapaxes(1, 2), "b": b.detach().cpu().numpy()}

    def _loss(self, W: Any, b: Any, x: Any) -> Any:
        raise NotImplementedError


class TorchMatmul(_Torch):
    """`W.mT @ (W @ x)` on columns x of shape (batch, instances, features, 1)."""

    shape = ("hidden", "features")

    def _loss(self, W: Any, b: Any, x: Any) -> Any:
        column = x[..., None]
        output = self.activation(self.torch.matmul(W.transpose(1, 2), self.torch.matmul(W, column)) + b[..., None])
        errors = (output - column) ** 2 * self.importance[..., None]
        return errors.sum((1, 2, 3)).mean()


class TorchEinsum(_Torch):
    """The notebook's two einsums; its loss averages over samples and sums over instances."""

    shape = ("features", "hidden")

    def _loss(self, W: Any, b: Any, x: Any) -> Any:
        hidden = self.torch.einsum("...if,ifh->...ih", x, W)
        output = self.activation(self.torch.einsum("...ih,ifh->...if", hidden, W) + b)
        return ((output - x) ** 2 * self.importance).sum(-1).mean(0).sum()
