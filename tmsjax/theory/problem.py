"""The objective: the exact loss of models of one shape, as a function of one parameter vector theta."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.kinds import Drawn, drawn_by


@dataclass(frozen=True)
class Problem:
    """Models of one shape under one activity; theta = (W row by row, b), or W alone without bias."""

    features: int
    hidden: int
    activity: str = "independent"
    bias: bool = True
    options: tuple[tuple[str, float], ...] = ()  # of the activity

    @property
    def size(self) -> int:
        return self.features * (self.hidden + self.bias)

    @property
    def drawn(self) -> Drawn:
        return drawn_by(self.activity, self.features, **dict(self.options))

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(W (..., m, n), b (..., n)) from theta (..., size); b = 0 without bias."""
        weights = self.features * self.hidden
        W = theta[..., :weights].reshape(*theta.shape[:-1], self.hidden, self.features)
        return W, theta[..., weights:] if self.bias else np.zeros((*theta.shape[:-1], self.features))

    def pack(self, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        flat = np.reshape(W, (*np.shape(W)[:-2], -1))
        return np.concatenate([flat, b], axis=-1) if self.bias else flat
