"""The input x of a model, from random bits: features of a sample, a function of uniforms, rows, or hidden layers.

An active feature follows the distribution of values; an inactive feature is exactly 0. If features are independent,
one uniform u gives both: v = (1 - u/p)+ is 0 with probability 1 - p and otherwise uniform on (0, 1], and the value is
the quantile function of v. For other activities, separate uniforms decide which features are active, and v is a
uniform for each active feature and 0 for the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from tmsjax.errors import SpecError
from tmsjax.kinds import ACTIVITIES, SAMPLERS, VALUES, Drawn, Option, Values, called, positional
from tmsjax.kinds import Sampler as Entry
from tmsjax.kinds.arrays import Array, Bits, Features, Floats, PerFeature, PerPair
from tmsjax.models.instance import Instance
from tmsjax.spec import Data, Rows, Source, Spec, sizes, static


class Sampler:
    """How the input of a model is drawn."""

    @property
    def columns(self) -> int:
        """The number of uniforms per sample."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        """The number of weights that a sample passes through."""
        return 0

    @property
    def needs_arrays(self) -> str | None:
        """Why `sample` is slow on separate scalars (see engine/scalars.py), or None."""
        return None

    def sample(self, bits: Bits, instance: Instance) -> Features:
        """x from random bits."""
        raise NotImplementedError

    def masked(self, words: UInt32[Array, "sample column"]) -> UInt32[Array, "sample column"]:
        """Words of a batch where consecutive samples share those that decide activity."""
        return words

    def masked_columns(self, columns: tuple[UInt32[Array, "sample"], ...]) -> tuple[UInt32[Array, "sample"], ...]:
        """The same for separate columns."""
        return columns


class DrawingSampler(Sampler):
    """Draws a sample from the feature probabilities, its own or those of a stored model."""

    @property
    def declared(self) -> Mapping[str, Option]:
        """The options that it reads."""
        raise NotImplementedError

    def sample(self, bits: Bits, instance: Instance) -> Features:
        return self.draw(bits, instance.feature_probability, instance.own("data"))

    def draw(self, bits: Bits, probability: Features, own: Mapping[str, Floats]) -> Features:
        """x from random bits; `own`: values of the options that are quantities."""
        raise NotImplementedError


@dataclass(frozen=True)
class FeatureSampler(DrawingSampler):
    """Features of a sample, by an activity and the distribution of their values.

    Attributes:
        drawn: The activity, without its options that are quantities.
        values: The distribution of an active feature's value.
        masks: The number of different active sets in a batch; 0: each sample has its own.
    """

    drawn: Drawn
    values: Values
    masks: int = 0

    @classmethod
    def of(cls, data: Data, features: int) -> FeatureSampler:
        """The sampler of a [data] table."""
        drawn = Drawn(ACTIVITIES[data.activity], features, static(data.options))
        return cls(drawn, VALUES[data.values], sizes(data.options).get("masks", 0))

    @property
    def features(self) -> int:
        """n."""
        return self.drawn.n

    @property
    def activity_columns(self) -> int:
        """The number of uniforms that only decide activity: 0 if each feature's own uniform decides it. Come last."""
        return 0 if self.drawn.activity.own and not self.masks else self.drawn.columns()

    @property
    def columns(self) -> int:
        """One per feature, plus those that only decide activity."""
        return self.features + self.activity_columns

    @property
    def needs_arrays(self) -> str | None:
        most = self.drawn.activity.scalars_up_to
        return f"an activity of more than {most} features" if self.features > most else None

    def draw(self, bits: Bits, probability: Features, own: Mapping[str, Floats]) -> Features:
        return self.valued(self.level(bits, probability, own))

    def level(self, bits: Bits, probability: Features, own: Mapping[str, Floats]) -> Features:
        """v (n,): 0 for an inactive feature, else uniform in (0, 1]."""
        n = self.features
        if not self.activity_columns:
            return active_uniform(bits, probability)
        active = with_own(self.drawn, own).active(uniform(bits[n:]), probability)
        return jnp.where(active, active_uniform(bits[:n], np.float32(1)), np.float32(0))

    def valued(self, v: Features) -> Features:
        """The values of features from v."""
        x = self.values.quantile(v)
        return x if self.values.zero_at_zero else jnp.where(v > 0, x, np.float32(0))

    @property
    def declared(self) -> Mapping[str, Option]:
        return self.drawn.activity.options

    def masked(self, words: UInt32[Array, "sample column"]) -> UInt32[Array, "sample column"]:
        if not self.masks:
            return words
        n, end = self.features, self.columns
        return jnp.concatenate([words[:, :n], self._repeated(words[:, n:end]), words[:, end:]], axis=1)

    def masked_columns(self, columns: tuple[UInt32[Array, "sample"], ...]) -> tuple[UInt32[Array, "sample"], ...]:
        n, end = self.features, self.columns
        return (*columns[:n], *map(self._repeated, columns[n:end]), *columns[end:]) if self.masks else columns

    def _repeated(self, words: UInt32[Array, "sample ..."]) -> UInt32[Array, "sample ..."]:
        return jnp.repeat(words[: self.masks], len(words) // self.masks, axis=0)


@dataclass(frozen=True)
class ShapedSampler(DrawingSampler):
    """Features of a sample, shaped by an entry (see `shape` of kinds.Sampler)."""

    of: FeatureSampler
    entry: Entry
    options: tuple[tuple[str, Any], ...]

    @property
    def columns(self) -> int:
        return self.of.columns

    @property
    def needs_arrays(self) -> str | None:
        return self.of.needs_arrays

    def draw(self, bits: Bits, probability: Features, own: Mapping[str, Floats]) -> Features:
        assert self.entry.shape is not None  # as `sampler_of` chose this class
        v = self.of.level(bits, probability, own)
        return called(self.entry.shape, v, self.of.valued, options={**dict(self.options), **own})

    @property
    def declared(self) -> Mapping[str, Option]:
        return {**self.of.declared, **self.entry.options}


@dataclass(frozen=True)
class FunctionSampler(DrawingSampler):
    """A sample as a function of uniforms, with its options that are the same for all models."""

    entry: Entry
    features: int
    options: tuple[tuple[str, Any], ...]

    @property
    def columns(self) -> int:
        return called(self.entry.columns, self.features, options=sizes(self.options))

    def draw(self, bits: Bits, probability: Features, own: Mapping[str, Floats]) -> Features:
        assert self.entry.sample is not None  # as `sampler_of` chose this class
        arguments = (uniform(bits), probability)[: positional(self.entry.sample, self.entry.options)]
        return called(self.entry.sample, *arguments, options={**dict(self.options), **own})

    @property
    def declared(self) -> Mapping[str, Option]:
        return self.entry.options


@dataclass(frozen=True)
class RowSampler(Sampler):
    """Rows of an array.

    Attributes:
        rows: The array.
        epochs: Whether every row comes once in each epoch, in a new order (see engine/streams.py); else rows are drawn.
    """

    rows: Rows
    epochs: bool

    @property
    def columns(self) -> int:
        return 1

    def sample(self, bits: Bits, instance: Instance) -> Features:
        return jnp.take(self.rows.array, bits[0] % np.uint32(len(self.rows.array)), axis=0, mode="clip")


@dataclass(frozen=True)
class HiddenSampler(Sampler):
    """The hidden layer of stored models (the instance's `source`) for a sample of their features.

    Attributes:
        of: How the features are drawn.
        shape: (m, n) of the stored models.
        neurons: Whether the hidden layer is ReLU(W x).
    """

    of: DrawingSampler
    shape: tuple[int, int]
    neurons: bool

    @property
    def columns(self) -> int:
        return self.of.columns

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    @property
    def needs_arrays(self) -> str | None:
        return self.of.needs_arrays

    @property
    def source(self) -> dict[str, np.ndarray]:
        """Arrays like those of an instance's `source`."""
        m, n = self.shape
        varying = [(key, option) for key, option in self.of.declared.items() if option.varies]
        wide = {key: (n,) if option.type == "features" else () for key, option in varying}
        found = {f"data.{key}": np.zeros(shape, np.float32) for key, shape in wide.items()}
        return found | {"W": np.zeros((m, n), np.float32), "feature_probability": np.zeros(n, np.float32)}

    def sample(self, bits: Bits, instance: Instance) -> Features:
        source = instance.source
        own = {k.removeprefix("data."): v for k, v in source.items() if k.startswith("data.")}
        h = source["W"] @ self.of.draw(bits, source["feature_probability"], own)
        return positive(h) if self.neurons else h


def sampler_of(spec: Spec) -> Sampler:
    """The sampler that a spec's [data] names. Raises SpecError if a run or a file is not read yet."""
    data, n = spec.samples
    if data.sampler == "file":
        if not isinstance(spec.source, Rows):
            raise SpecError(spec.name, [("data.file", "the file is not read yet; `run_sweep` reads it")])
        return RowSampler(spec.source, bool(sizes(data.options)["epochs"]))
    of: DrawingSampler
    entry, options = SAMPLERS[data.sampler], static(data.options)
    if entry.shape is not None:
        of = ShapedSampler(FeatureSampler.of(data, n), entry, options)
    else:
        of = FeatureSampler.of(data, n) if data.featured else FunctionSampler(entry, n, options)
    if isinstance(spec.source, Source):
        return HiddenSampler(of, spec.source.sizes, spec.source.neurons)
    return of


def with_own(drawn: Drawn, own: Mapping[str, Floats]) -> Drawn:
    """The activity with the values of its options that are quantities."""
    return replace(drawn, options=(*drawn.options, *own.items())) if own else drawn


def sobol(samples: int, columns: int) -> UInt32[np.ndarray, "samples columns"]:
    """The first points of the Sobol' sequence as bits.

    2^k samples form a net: every interval [i, i + 1) 2^-k of a column holds one point, and so do most boxes of this
    volume in a few columns. XORed with one random word per column (a digital shift), each point is uniform and the
    points remain a net (L'Ecuyer and Lemieux 2002, "Recent advances in randomized quasi-Monte Carlo methods").
    """
    from scipy.stats import qmc

    points = qmc.Sobol(columns, scramble=False, bits=32).random(samples)
    return (points * 2.0**32).astype(np.uint32)


def rotate(word: Bits, offset: Bits, streams: str) -> Bits:
    """An instance's word: the shared word, shifted by the instance's `offset`. Uniform if the offset is."""
    return word ^ offset if streams == "sobol" else word + offset


def positive(v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(v, 0)."""
    # `where` instead of `maximum`: value and gradient share one mask, and XLA:CPU's NaN-propagating maximum is slow.
    return jnp.where(v > 0, v, np.float32(0))


def active_uniform(bits: UInt32[Array, "feature"], probability: Floats | np.float32) -> Features:
    """v in [0, 1]: 0 with probability 1 - p, otherwise uniform, for `probability` p in (0, 1].

    Bits near 0 are active, since float32 has the finest resolution there: v has steps of 2^-32 / p.
    """
    return positive(1 - bits.astype(jnp.float32) * (np.float32(2.0**-32) / probability))


def uniform(bits: Bits) -> Float[Array, "columns"]:
    """Uniform on [0, 1). Words that float32 rounds up to 2^32 give the largest float32 below 1."""
    u = bits.astype(jnp.float32) * np.float32(2.0**-32)
    return jnp.where(u < 1, u, np.float32(1 - 2.0**-24))


def between(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Uniform on (0, 1), without both ends: midpoints of 2^23 equal cells."""
    return ((bits >> np.uint32(9)).astype(jnp.float32) + np.float32(0.5)) * np.float32(2.0**-23)


def mean(probability: PerFeature, drawn: Drawn, values: Values) -> PerFeature:
    """E x."""
    return values.mean * drawn.marginal(probability)


def covariance(probability: PerFeature, drawn: Drawn, values: Values) -> PerPair:
    """Cov x.

    P_ij is the probability that features i and j are both active, v the value of an active feature. The diagonal is
    P_ii E[v^2] - P_ii^2 E[v]^2, which is p/3 - p^2/4 for uniform values of independent features. The other entries are
    E[v]^2 (P_ij - P_ii P_jj), since values are independent.
    """
    xp = probability.__array_namespace__()
    marginal = drawn.marginal(probability)
    p, q = marginal[..., :, None], marginal[..., None, :]
    between = xp.zeros_like(p * q)
    eye = xp.broadcast_to(xp.eye(probability.shape[-1], dtype=probability.dtype), between.shape)
    if not drawn.activity.own:
        between = values.mean**2 * (drawn.joint(probability) - p * q) * (1 - eye)
    variance = values.square * p - values.mean**2 * p**2
    return eye * variance + between
