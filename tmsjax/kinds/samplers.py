"""Samplers: where the input x of a model comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from tmsjax.kinds import graphs
from tmsjax.kinds.activities import normal
from tmsjax.kinds.arrays import Array, Elementwise, Features, PerFeature, PerPair
from tmsjax.kinds.registry import Option, Registry, checked_callables, checked_options, positional


def one_per_feature(n: int) -> int:
    """n."""
    return n


@dataclass(frozen=True, eq=False)
class Sampler:
    """How samples are drawn. The spec's options are passed as keywords. `add_sampler` describes more fields.

    Attributes:
        sample: None for the built-in ones that read [data] activity and values, or files (see models/sampling.py).
        shape: (v, values) -> x of those that shape the features that [data] activity draws: v (n,) is 0 where a feature
            is inactive, else uniform in (0, 1], and `values` maps it to the value that [data] values names.
        misfit: n -> why it cannot draw n features, or None.
        uses: Keys of [data] and [instance] that it uses beside its options.
    """

    sentence: str
    columns: Callable[..., int] = one_per_feature
    sample: Callable[..., Float[Array, "input"]] | None = None
    inputs: Callable[..., int] = one_per_feature
    mean: Callable[..., PerFeature] | None = None
    covariance: Callable[..., PerPair] | None = None
    uses: tuple[str, ...] = ("samples", "feature_probability")
    options: Mapping[str, Option] = field(default_factory=dict)
    shape: Callable[..., Features] | None = None
    misfit: Callable[..., str | None] = lambda n: None


# scaled, gaussian: magnitudes of active features


def _scaled(v: Features, values: Elementwise, *, magnitude: Features, edges: graphs.Edges | None = None) -> Features:
    return _of_parents(magnitude * values(v), edges)


def _gaussian(
    v: Features, values: Elementwise, *, mean: Features, deviation: Features, edges: graphs.Edges | None = None
) -> Features:
    x = mean + deviation * normal(1 - v)
    return _of_parents(v.__array_namespace__().where((v > 0) & (x > 0), x, np.float32(0)), edges)


def _edges_misfit(n: int, edges: graphs.Edges | None = None) -> str | None:
    return None if edges is None else graphs.misfit(n, edges)


def _of_parents(x: Features, edges: graphs.Edges | None) -> Features:
    """x, where the value of each feature that has parents is multiplied by theirs."""
    if edges is None:
        return x

    def join(own: Array, above: Array, taken: graphs.Taken) -> Array:
        return own * above.__array_namespace__().where(taken, above, np.float32(1)).prod(1)

    return graphs.descend(x, edges, join)


_EDGES = replace(graphs.EDGES, optional=True, sentence="pairs [parent, child]: x_child is multiplied by x_parent")
EPOCHS = Option("int", default=0, low=0, high=1, sentence="1: every row once in each epoch; 0: rows are drawn")

SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    {
        "features": Sampler(
            "sparse features: `activity` says which are active, `values` their values",
            uses=("activity", "values", "samples", "feature_probability"),
        ),
        "shared-masks": Sampler(
            "the same, with few sets of active features in a batch",
            uses=("activity", "values", "feature_probability"),
            options={"masks": Option("int", high=2**20, sentence="sets in a batch, a divisor of train.batch")},
        ),
        "scaled": Sampler(
            "sparse features as 'features' draws them, times a magnitude of each, and times the values of its parents",
            uses=("activity", "values", "samples", "feature_probability"),
            options={
                "magnitude": Option("features", default=1.0, sentence="factor on the values of each feature"),
                "edges": _EDGES,
            },
            shape=_scaled,
            misfit=_edges_misfit,
        ),
        "gaussian": Sampler(
            "the same, with values mean + deviation * normal, or 0 where that is negative",
            uses=("activity", "samples", "feature_probability"),
            options={
                "mean": Option("features", default=1.0, sentence="of the values of each active feature"),
                "deviation": Option("features", low=0.0, sentence="standard deviation around the mean"),
                "edges": _EDGES,
            },
            shape=_gaussian,
            misfit=_edges_misfit,
        ),
        "file": Sampler(
            "rows of an array (rows, inputs) in a .npy file",
            columns=lambda n: 1,
            uses=(),
            options={"file": Option("path", sentence="the file, relative to the spec's"), "epochs": EPOCHS},
        ),
        "run": Sampler(
            "the hidden layers of a finished run's models, W x or ReLU(W x); of several runs, one after the other",
            uses=(),
            options={"run": Option("paths", sentence="its directory, or a list of them, relative to the spec's")},
        ),
    },
)


def add_sampler(
    name: str,
    *,
    columns: Callable[..., int],
    sample: Callable[..., Float[Array, "input"]],
    inputs: Callable[..., int] = one_per_feature,
    mean: Callable[..., PerFeature] | None = None,
    covariance: Callable[..., PerPair] | None = None,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds a rule for the input x of a model, which may have any values.

    The functions get the spec's options as keywords; `columns` and `inputs` only those of type "int".

    Args:
        name: By which specs find it: `[data] sampler`.
        columns: n -> k, the number of uniforms per sample.
        sample: (u (k,) uniform on [0, 1), p (n,) the feature probabilities) -> x (inputs,), float32, in plain JAX; or
            a function of u alone, if probabilities have no meaning.
        inputs: n -> the number of inputs; by default n.
        mean: p (..., n) -> E x (..., n), for the exact loss of linear models, together with
        covariance: p (..., n) -> Cov x (..., n, n). Both by operators and functions of `p.__array_namespace__()`;
            checked by simulation before a run. None: `tmsjax.moments` measures them.
        options: Keys that it adds to [data].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> def pairs(u, p):  # feature 1 is active only if feature 0 is, and then smaller
        ...     x = jnp.where(u[:2] < p, u[2:], 0)
        ...     return x.at[1].multiply(x[0])
        >>> tmsjax.add_sampler("pairs", columns=lambda n: 4, sample=pairs)
        >>> tmsjax.load_spec(spec, ["data.sampler=pairs"]).data.sampler
        'pairs'
    """
    functions: dict[str, Callable] = {"columns": columns, "sample": sample, "inputs": inputs}
    functions |= {k: v for k, v in {"mean": mean, "covariance": covariance}.items() if v is not None}
    checked_callables(SAMPLERS, name, **functions)
    if (mean is None) != (covariance is None):
        raise SAMPLERS.refuse(name, "give both mean and covariance, or neither; `tmsjax.moments` measures them")
    table = ("activity", "values", "sampler", "samples")
    checked = checked_options(SAMPLERS, name, options, table=table, used=functions.values())
    if (arguments := positional(sample, checked)) > 2:
        raise SAMPLERS.refuse(name, f"sample has {arguments} arguments; it gets u, or u and p, and options by name")
    uses = ("samples", "feature_probability") if arguments > 1 else ("samples",)
    SAMPLERS.add(name, Sampler(sentence, columns, sample, inputs, mean, covariance, uses, checked))
