"""The models of the field in plain PyTorch, batched over models by `@`: parameters (models, ...), x (models, batch, n).

One thread: with more, a step of models this small takes as long and costs more processor seconds. Like its sources,
each draws two uniforms per feature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, rand, randn

Tree = dict[str, Tensor]


@dataclass(frozen=True)
class Models:
    """All models.

    Attributes:
        params: Name -> a trained parameter, (models, ...).
        sample: batch -> x (models, batch, inputs).
        error: (x, whether there is noise) -> the loss of each sample, (models, batch).
        optimizer: Trained parameters -> the optimizer.
        factor: (step, steps) -> the factor of the learning rate.
        penalty: x -> what training adds to the loss of each sample.
    """

    params: Tree
    sample: Callable[[int], Tensor]
    error: Callable[[Tensor, bool], Tensor]
    optimizer: Callable[[Tree], torch.optim.Optimizer] = lambda params: torch.optim.Adam(params.values(), lr=3e-3)
    factor: Callable[[int, int], float] = lambda step, steps: 1.0
    penalty: Callable[[Tensor], Tensor | float] = field(default=lambda x: 0.0)


class Trainer:
    """Models that train together; each call of `train` continues."""

    def __init__(self, row: str, folder: Path, models: int, batch: int, steps: int):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.models = MODELS[row](models, folder)
        for value in self.models.params.values():
            value.requires_grad_()
        self.batch = batch
        self.optimizer = self.models.optimizer(self.models.params)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda k: self.models.factor(k, steps))

    def train(self, steps: int) -> None:
        for _ in range(steps):
            x = self.models.sample(self.batch)
            self.optimizer.zero_grad(set_to_none=True)
            (self.models.error(x, True) + self.models.penalty(x)).mean(1).sum().backward()
            self.optimizer.step()
            self.schedule.step()

    @torch.no_grad()
    def loss(self, samples: int) -> float:
        """The mean over models of the loss without noise and penalty, on fresh samples."""
        return float(self.models.error(self.models.sample(samples), False).mean())


def sparse(models: int, n: int, p: Any, low: float = 0.0) -> Callable[[int], Tensor]:
    """Independent features, active with probability p, uniform on [low, 1)."""

    def sample(batch: int) -> Tensor:
        active = rand(models, batch, n) < p
        return active * (low + (1 - low) * rand(models, batch, n))

    return sample


def squared(target: Tensor, output: Tensor) -> Tensor:
    return ((target - output) ** 2).sum(-1)


def tied(params: Tree) -> Callable[[Tensor, bool], Tensor]:
    W, b = params["W"], params["b"]
    return lambda x, noisy: squared(x, torch.relu(x @ W.mT @ W + b))


def cosine(step: int, steps: int) -> float:
    return (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


def untied(models: int, folder: Path) -> Models:
    W, V, b = 0.3 * randn(models, 2, 5), 0.3 * randn(models, 5, 2), torch.zeros(models, 1, 5)

    def error(x: Tensor, noisy: bool) -> Tensor:
        return squared(x, torch.relu(x @ W.mT @ V.mT + b))

    return Models({"W": W, "V": V, "b": b}, sparse(models, 5, 0.1), error)


def _hidden(models: int, H: Tensor, trained: bool) -> Models:
    W, b = 0.5 * randn(models, 2, 5), torch.zeros(models, 1, 5)

    def error(x: Tensor, noisy: bool) -> Tensor:
        return squared(x, torch.relu(x @ W.mT @ H.mT @ W + b))

    params = {"W": W, "b": b, "H": H} if trained else {"W": W, "b": b}
    return Models(params, sparse(models, 5, 0.05), error, _adamw)


def _adamw(params: Tree) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params.values(), lr=5e-3, weight_decay=0.01)


def hidden_identity(models: int, folder: Path) -> Models:
    return _hidden(models, torch.eye(2), trained=False)


def hidden_trained(models: int, folder: Path) -> Models:
    return _hidden(models, torch.eye(2).repeat(models, 1, 1), trained=True)


def _residual_mlp(models: int, n: int, neurons: int, width: int, p: float) -> Models:
    E = randn(models, width, n)
    E /= torch.linalg.norm(E, dim=1, keepdim=True)
    W = (2 * rand(models, neurons, width) - 1) / width**0.5
    V = (2 * rand(models, width, neurons) - 1) / neurons**0.5

    def error(x: Tensor, noisy: bool) -> Tensor:
        r = x @ E.mT
        r = r + torch.relu(r @ W.mT) @ V.mT
        return squared(x + torch.relu(x), r @ E)

    def optimizer(params: Tree) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params.values(), lr=3e-3, weight_decay=0.01)

    return Models({"W": W, "V": V}, sparse(models, n, p, -1.0), error, optimizer, cosine)


def residual_mlp(models: int, folder: Path) -> Models:
    return _residual_mlp(models, 20, 10, 40, 0.05)


def residual_mlp_100(models: int, folder: Path) -> Models:
    return _residual_mlp(models, 100, 50, 1000, 0.01)


def _small(models: int, n: int, hidden: int, std: float) -> Tree:
    return {"W": std * randn(models, hidden, n), "b": torch.zeros(models, 1, n)}


def hierarchy(models: int, folder: Path) -> Models:
    params = _small(models, 6, 3, 0.4)
    p = torch.tensor([0.2, 0.5, 0.5, 0.2, 0.5, 0.5])

    def sample(batch: int) -> Tensor:
        own = rand(models, batch, 6) < p
        return (own & own[..., [0, 0, 0, 3, 3, 3]]) * rand(models, batch, 6)

    return Models(params, sample, tied(params))


def copula(models: int, folder: Path) -> Models:
    params = _small(models, 5, 2, 0.4)
    correlation = torch.eye(5)
    correlation[0, 1:] = correlation[1:, 0] = 0.4
    root, below = torch.linalg.cholesky(correlation), torch.special.ndtri(torch.tensor(0.2))

    def sample(batch: int) -> Tensor:
        return (randn(models, batch, 5) @ root.T < below) * rand(models, batch, 5)

    return Models(params, sample, tied(params))


def circle(models: int, folder: Path) -> Models:
    params = _small(models, 10, 3, 0.3)
    rows = torch.from_numpy(np.load(folder / "circle.npy")).float()

    def sample(batch: int) -> Tensor:
        return rows[torch.randint(len(rows), (models, batch))]

    return Models(params, sample, tied(params))


def scaled_child(models: int, folder: Path) -> Models:
    params = _small(models, 6, 3, 0.4)
    own = sparse(models, 6, torch.tensor([0.2, 0.5, 0.5, 0.2, 0.5, 0.5]))

    def sample(batch: int) -> Tensor:
        x = own(batch)
        x[..., [1, 2, 4, 5]] *= x[..., [0, 0, 3, 3]]
        return x

    return Models(params, sample, tied(params))


def magnitudes(models: int, folder: Path) -> Models:
    params = _small(models, 6, 3, 0.4)
    mean = torch.linspace(0.5, 1.5, 6)

    def sample(batch: int) -> Tensor:
        return (rand(models, batch, 6) < 0.1) * torch.relu(mean + 0.15 * randn(models, batch, 6))

    return Models(params, sample, tied(params))


def fourth_power(models: int, folder: Path) -> Models:
    W, V = 0.3 * randn(models, 1, 10), 0.3 * randn(models, 10, 1)

    def error(x: Tensor, noisy: bool) -> Tensor:
        return ((torch.relu(x) - torch.relu(x @ W.mT) @ V.mT) ** 4).sum(-1)

    return Models({"W": W, "V": V}, sparse(models, 10, 0.02, -1.0), error, factor=cosine)


def noisy_labels(models: int, folder: Path) -> Models:
    W, V, M = 0.3 * randn(models, 5, 10), 0.3 * randn(models, 10, 5), 0.05 * randn(models, 10, 10)

    def error(x: Tensor, noisy: bool) -> Tensor:
        return squared(torch.relu(x) + x @ M.mT, torch.relu(x @ W.mT) @ V.mT)

    return Models({"W": W, "V": V}, sparse(models, 10, 0.1, -1.0), error)


def universal_and(models: int, folder: Path) -> Models:
    W, b = 0.3 * randn(models, 16, 8), torch.zeros(models, 1, 16)
    V, c = 0.3 * randn(models, 28, 16), 0.3 * randn(models, 1, 28)
    first, second = np.triu_indices(8, 1)

    def error(x: Tensor, noisy: bool) -> Tensor:
        return squared(x[..., first] * x[..., second], torch.relu(x @ W.mT + b) @ V.mT + c)

    return Models({"W": W, "b": b, "V": V, "c": c}, lambda batch: (rand(models, batch, 8) < 0.25).float(), error)


def hidden_noise(models: int, folder: Path) -> Models:
    params = _small(models, 5, 2, 0.4)
    W, b = params["W"], params["b"]

    def error(x: Tensor, noisy: bool) -> Tensor:
        h = x @ W.mT
        h = h + 0.1 * torch.randn_like(h) if noisy else h
        return squared(x, torch.relu(h @ W + b))

    return Models(params, sparse(models, 5, 0.1), error)


def crosscoder(models: int, folder: Path) -> Models:
    toys = torch.cat([torch.from_numpy(np.load(folder / f"toy-{k}.npy")) for k in (0, 1)])
    E, b, D = 0.5 * randn(models, 8, 4), torch.zeros(models, 1, 8), 0.5 * randn(models, 4, 8)
    features = sparse(models, 5, 0.1)

    def latents(a: Tensor) -> Tensor:
        return torch.relu(a @ E.mT + b)

    def error(a: Tensor, noisy: bool) -> Tensor:
        return squared(a, latents(a) @ D.mT)

    def penalty(a: Tensor) -> Tensor:
        norms = torch.linalg.norm(D[:, :2], dim=1, keepdim=True) + torch.linalg.norm(D[:, 2:], dim=1, keepdim=True)
        return 0.02 * (latents(a) * norms).sum(-1)

    return Models({"E": E, "b": b, "D": D}, lambda batch: features(batch) @ toys.T, error, penalty=penalty)


def recall(models: int, folder: Path) -> Models:
    W, A, V = 0.4 * randn(models, 6, 3), 0.4 * randn(models, 6, 6), 0.4 * randn(models, 3, 6)

    def error(x: Tensor, noisy: bool) -> Tensor:
        h, loss = torch.zeros(1), torch.zeros(1)
        steps = x.unflatten(-1, (6, 3)).unbind(-2)
        for k, now in enumerate(steps):
            h = torch.relu((h @ A.mT if k else h) + now @ W.mT)
            if k >= 2:
                loss = loss + squared(steps[k - 2], h @ V.mT)
        return loss

    return Models({"W": W, "A": A, "V": V}, sparse(models, 18, 0.2), error)


def exactly_k(models: int, folder: Path) -> Models:
    params = _small(models, 8, 3, 0.4)

    def sample(batch: int) -> Tensor:
        return (rand(models, batch, 8).argsort(-1).argsort(-1) < 2).float()

    return Models(params, sample, tied(params))


def signed_decay(models: int, folder: Path) -> Models:
    """Liu et al.: power-law frequencies, a decay that draws norms to 1, warm-up and a floor, another rate for b."""
    params = _small(models, 20, 5, 0.2)

    def decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        W, rate = params["W"], optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            W -= rate * 0.1 * (1 - 1 / (torch.linalg.norm(W, dim=1, keepdim=True) + 1e-8)) * W

    def optimizer(params: Tree) -> torch.optim.Optimizer:
        adam = torch.optim.Adam([{"params": [params["W"]], "lr": 1e-2}, {"params": [params["b"]], "lr": 4e-3}])
        adam.register_step_pre_hook(decay)
        return adam

    def factor(step: int, steps: int) -> float:
        return step / 100 if step < 100 else 0.1 + 0.9 * cosine(step - 100, steps - 100)

    powers = 1 / torch.arange(1, 21)
    return Models(params, sparse(models, 20, 1.8 * powers / powers.sum()), tied(params), optimizer, factor)


MODELS: dict[str, Callable[[int, Path], Models]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        untied, hidden_identity, hidden_trained, residual_mlp, residual_mlp_100, hierarchy, copula, circle,
        scaled_child, magnitudes, fourth_power, noisy_labels, universal_and, hidden_noise, crosscoder, recall,
        exactly_k, signed_decay,
    )
}  # fmt: skip
