"""Activities: which features of a sample are active together.

An activity maps a sample's uniforms to the set of active features and states the probabilities of these sets, from
which moments and exact losses follow. Activities with a `size` split the features into sets of consecutive ones: with
`size = 2`, features 0 and 1, 2 and 3, and so on (the paper, section "Correlated and anticorrelated features").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from tmsjax.kinds import graphs
from tmsjax.kinds.arrays import Array, Features, Floats, Number, Numbers, PerFeature, PerPair
from tmsjax.kinds.registry import Option, Registry, checked_callables, checked_options

Subset = tuple[int, ...]
ANY_NUMBER = 2**16  # of features


@dataclass(frozen=True, eq=False)
class Activity:
    """How active features are drawn. The spec's options are passed as keywords. `add_activity` describes more fields.

    Attributes:
        marginal: p -> the probability that each feature is active; None: the diagonal of `joint`.
        own: Whether each feature is decided by one uniform of its own, which can then also give its value.
        possible: (subset, n) -> whether the active set can be `subset`.
        most_active: n -> the largest number of features that can be active together.
        exact_up_to: () -> the largest n for which ReLU models train on the exact loss; above it, samples are cheaper.
        misfit: n -> why it cannot draw n features, or None.
        needs_probability: Whether a spec must give feature_probability; if not, it defaults to 1.
        equal_only: Whether feature_probability must be the same for all features of a model.
        scalars_up_to: The largest n for which `active` is cheap on separate scalars (see engine/scalars.py).
    """

    columns: Callable[..., int]
    active: Callable[..., Bool[Array, "feature"]]
    sentence: str
    joint: Callable[..., PerPair] | None = None
    marginal: Callable[..., PerFeature] | None = None
    own: bool = False
    exactly: Callable[..., Numbers] | None = None
    possible: Callable[..., bool] = lambda subset, n: True
    most_active: Callable[..., int] = lambda n: n
    exact_up_to: Callable[..., int] = lambda: 3
    misfit: Callable[..., str | None] = lambda n: None
    needs_probability: bool = True
    equal_only: bool = False
    scalars_up_to: int = ANY_NUMBER
    options: Mapping[str, Option] = field(default_factory=dict)


def below(u: Float[Array, "*shape"], p: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether u < p, elementwise, for u in [0, 1) and p in (0, 1]."""
    return 1 - u * (np.float32(1) / p) > 0  # with the rounding of sampling.active_uniform


def _each(p: PerFeature) -> PerFeature:
    return p


def _outer(p: PerFeature) -> PerPair:
    return p[..., :, None] * p[..., None, :]


def _with_diagonal(joint: PerPair, marginal: PerFeature) -> PerPair:
    diagonal = np.broadcast_to(np.eye(marginal.shape[-1], dtype=bool), joint.shape)
    return joint.__array_namespace__().where(diagonal, marginal[..., :, None], joint)


def _same_set(pairs: PerPair, size: int) -> Bool[Array, "*instance feature feature"]:
    """Whether two features belong to the same set."""
    number = np.arange(pairs.shape[-1]) // size
    return np.broadcast_to(number[:, None] == number[None, :], pairs.shape)


def _sizes_misfit(n: int, size: int) -> str | None:
    if n % size == 0:
        return None
    allowed = ", ".join(str(k) for k in range(1, min(n, 1000) + 1) if n % k == 0)
    return f"size = {size} does not divide model.features = {n} (allowed: {allowed})"


# independent: each feature has its own uniform


def _independent_exactly(p: Sequence[Floats], subset: Subset) -> Numbers:
    rest = [q for k, q in enumerate(p) if k not in subset]
    return math.prod([p[k] for k in subset]) * math.prod(1 - q for q in rest)


# groups: the features of a set share one uniform, so with equal probabilities they are active together


def _groups_active(u: Float[Array, "columns"], p: Features, *, size: int) -> Bool[Array, "feature"]:
    return below(u.repeat(size), p)


def _groups_joint(p: PerFeature, *, size: int) -> PerPair:
    xp = p.__array_namespace__()
    together = xp.minimum(p[..., :, None], p[..., None, :])
    return _with_diagonal(xp.where(_same_set(together, size), together, _outer(p)), p)


def _groups_exactly(p: Sequence[Floats], subset: Subset, *, size: int) -> Numbers:
    sets = [range(start, start + size) for start in range(0, len(p), size)]
    return math.prod(_one_group_exactly([p[k] for k in s], [k in subset for k in s]) for s in sets)


def _one_group_exactly(p: Sequence[Floats], chosen: list[bool]) -> Numbers:
    """The probability that one uniform u has u < p for the chosen features and u >= p for the others."""
    inside = [q for q, yes in zip(p, chosen, strict=True) if yes]
    outside = [q for q, yes in zip(p, chosen, strict=True) if not yes]
    least = _extreme(inside, low=True) if inside else 1
    if not outside:
        return least
    room = least - _extreme(outside, low=False)
    xp = room.__array_namespace__()
    return xp.where(room > 0, room, xp.zeros_like(room))


# correlated: with some probability the features of a set share one uniform, else each has its own


def _correlated_active(
    u: Float[Array, "columns"], p: Features, *, size: int, correlation: Number
) -> Bool[Array, "feature"]:
    n = p.shape[0]
    of_set = u[n:].repeat(size)
    together = of_set < correlation  # then of_set / correlation is uniform
    return (together & below(of_set / correlation, p)) | (~together & below(u[:n], p))


def _correlated_joint(p: PerFeature, *, size: int, correlation: Numbers) -> PerPair:
    share = p.__array_namespace__().asarray(correlation)[..., None, None]
    return share * _groups_joint(p, size=size) + (1 - share) * _with_diagonal(_outer(p), p)


def _correlated_exactly(p: Sequence[Floats], subset: Subset, *, size: int, correlation: Number) -> Numbers:
    out: Numbers = 1
    for start in range(0, len(p), size):
        some, chosen = p[start : start + size], [k in subset for k in range(start, start + size)]
        apart = math.prod(q if yes else 1 - q for q, yes in zip(some, chosen, strict=True))
        out = out * (correlation * _one_group_exactly(some, chosen) + (1 - correlation) * apart)
    return out


def _extreme(values: list[Floats], low: bool) -> Floats:
    """The elementwise minimum (`low`) or maximum of a list of arrays."""
    out = values[0]
    for v in values[1:]:
        out = out.__array_namespace__().where((v < out) if low else (v > out), v, out)
    return out


# exclusive: at most one feature of each set is active


def _exclusive_active(u: Float[Array, "columns"], p: Features, *, size: int) -> Bool[Array, "feature"]:
    share = (p / np.float32(size)).reshape(-1, size)
    return _first(u.reshape(-1, 1) < share.cumsum(axis=1)).reshape(-1)


def _first(reached: Bool[Array, "row column"]) -> Bool[Array, "row column"]:
    """Keeps only the first True of each row, which is sorted: False before True."""
    k = reached.shape[1]
    return reached & ~(reached[:, np.arange(k) - 1] & (np.arange(k) > 0)[None])


def _exclusive_marginal(p: PerFeature, *, size: int) -> PerFeature:
    return p / size


def _exclusive_joint(p: PerFeature, *, size: int) -> PerPair:
    xp, q = p.__array_namespace__(), p / size
    pairs = _outer(q)
    return _with_diagonal(xp.where(_same_set(pairs, size), xp.zeros_like(pairs), pairs), q)


def _exclusive_exactly(p: Sequence[Floats], subset: Subset, *, size: int) -> Numbers:
    out: Numbers = 1
    for start in range(0, len(p), size):
        chosen = [k for k in subset if start <= k < start + size]
        out = out * (p[chosen[0]] / size if chosen else 1 - sum(p[start : start + size]) / size)
    return out


def _exclusive_possible(subset: Subset, n: int, *, size: int) -> bool:
    return len({k // size for k in subset}) == len(subset)


# one-hot: exactly one feature is active


def _one_hot_active(u: Float[Array, "1"], p: Features) -> Bool[Array, "feature"]:
    n = p.shape[0]
    reached = (u < (p / p.sum()).cumsum()) | (np.arange(n) == n - 1)  # rounding may leave the last sum below 1
    return _first(reached.reshape(1, n)).reshape(n)


def _one_hot_marginal(p: PerFeature) -> PerFeature:
    return p / p.sum(-1, keepdims=True)


def _one_hot_joint(p: PerFeature) -> PerPair:
    q = _one_hot_marginal(p)
    return _with_diagonal(q.__array_namespace__().zeros_like(_outer(q)), q)


def _one_hot_exactly(p: Sequence[Floats], subset: Subset) -> Numbers:
    return p[subset[0]] / sum(p)


# exactly-k: a random subset of k features is active


def _exactly_k_active(u: Features, p: Features, *, active: int) -> Bool[Array, "feature"]:
    n = p.shape[0]
    mine, other = u[:, None], u[None, :]
    earlier = np.arange(n)[None, :] < np.arange(n)[:, None]
    lower = (other < mine) | ((other == mine) & earlier)
    return (lower * np.float32(1)).sum(1) < active  # the features of the k lowest uniforms


def _exactly_k_marginal(p: PerFeature, *, active: int) -> PerFeature:
    return p * 0 + active / p.shape[-1]


def _exactly_k_joint(p: PerFeature, *, active: int) -> PerPair:
    n = p.shape[-1]
    both = active * (active - 1) / (n * max(n - 1, 1))
    return _with_diagonal(_outer(p) * 0 + both, _exactly_k_marginal(p, active=active))


def _exactly_k_exactly(p: Sequence[Floats], subset: Subset, *, active: int) -> Numbers:
    return p[0] * 0 + 1 / math.comb(len(p), active)


def _too_many(n: int, active: int) -> str | None:
    return f"active = {active} is more than model.features = {n}" if active > n else None


# hierarchy: a feature needs all its parents; some-parents: it needs `needed` of them


def _hierarchy_active(u: Float[Array, "columns"], p: Features, *, edges: graphs.Edges) -> Bool[Array, "feature"]:
    return _some_parents_active(u, p, edges=edges, needed=p.shape[0])


def _some_parents_active(
    u: Float[Array, "columns"], p: Features, *, edges: graphs.Edges, needed: int
) -> Bool[Array, "feature"]:
    def join(own: Array, above: Array, taken: graphs.Taken) -> Array:
        active = (above * taken.astype(np.float32)).sum(1)
        return own & (active >= np.minimum(taken.sum(1), needed))

    return graphs.descend(below(u, p), edges, join)


def _log_shares(p: PerFeature, edges: graphs.Edges) -> tuple[PerFeature, PerFeature, Array]:
    """log p, log P(i active), and the matrix of ancestors: i is active if it and its ancestors would be alone."""
    xp = p.__array_namespace__()
    above = np.asarray(graphs.ancestors(p.shape[-1], edges), p.dtype)
    each = xp.log(xp.maximum(p, np.asarray(1e-37, p.dtype)))
    return each, each @ above.T, above


def _hierarchy_marginal(p: PerFeature, *, edges: graphs.Edges) -> PerFeature:
    return p.__array_namespace__().exp(_log_shares(p, edges)[1])


def _hierarchy_joint(p: PerFeature, *, edges: graphs.Edges) -> PerPair:
    """The product of p over the ancestors of i and those of j, counting common ones once."""
    xp = p.__array_namespace__()
    each, share, above = _log_shares(p, edges)
    shape = (*p.shape, p.shape[-1])
    common = (xp.broadcast_to(above, shape) * each[..., None, :]) @ above.T
    common = (common + xp.swapaxes(common, -1, -2)) / 2  # rounds to a symmetric matrix
    return xp.exp(share[..., :, None] + share[..., None, :] - common)


def _hierarchy_exactly(p: Sequence[Floats], subset: Subset, *, edges: graphs.Edges) -> Numbers:
    above, chosen = graphs.parents(len(p), edges), set(subset)
    refused = [1 - q for k, q in enumerate(p) if k not in chosen and chosen.issuperset(above[k])]
    return math.prod([p[k] for k in subset]) * math.prod(refused)


def _hierarchy_possible(subset: Subset, n: int, *, edges: graphs.Edges) -> bool:
    above = graphs.parents(n, edges)
    return all(set(subset).issuperset(above[k]) for k in subset)


# copulas: correlated normals z decide, and feature i is active where the distribution function of z_i is below p_i


def normal(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The quantile of standard normals, for float32 u in [0, 1]: at least -5.3, and accurate to 3e-8 in u."""
    import jax

    inside = u.__array_namespace__().maximum(u, np.float32(2.0**-25))
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(2 * inside - 1)


def _copula_active(
    u: Float[Array, "columns"], p: Features, *, correlation: Float[np.ndarray, "feature feature"]
) -> Bool[Array, "feature"]:
    return np.linalg.cholesky(correlation).astype(np.float32) @ normal(u) < normal(p)


def _copula_misfit(n: int, correlation: Float[np.ndarray, "..."]) -> str | None:
    if correlation.shape != (n, n):
        return f"correlation needs {n} lists of {n} numbers, a matrix (feature, feature)"
    for what, wrong in (
        ("1 on its diagonal", (correlation != 1) & np.eye(n, dtype=bool)),
        ("to be symmetric", correlation != correlation.T),
    ):
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            return f"correlation needs {what}, but has {correlation[i, j]:g} at [{i}][{j}]"
    least = np.linalg.eigvalsh(correlation)[0]
    return f"correlation needs positive eigenvalues, but the least is {least:.3g}" if least < 1e-6 else None


def _one_factor_active(u: Float[Array, "columns"], p: Features, *, correlation: Number) -> Bool[Array, "feature"]:
    z = normal(u)
    return correlation**0.5 * z[:1] + (1 - correlation) ** 0.5 * z[1:] < normal(p)


_SIZE = Option("int", default=2, low=1, sentence="features per set, a divisor of model.features")

ACTIVITIES: Registry[Activity] = Registry(
    "activity",
    {
        "independent": Activity(
            columns=lambda n: n,
            active=below,
            joint=lambda p: _with_diagonal(_outer(p), p),
            marginal=_each,
            own=True,
            exactly=_independent_exactly,
            sentence="each feature is active independently of the others",
        ),
        "tied": Activity(
            columns=lambda n: 1,
            active=lambda u, p: _groups_active(u, p, size=p.shape[0]),
            joint=lambda p: _groups_joint(p, size=p.shape[-1]),
            marginal=_each,
            exactly=lambda p, subset: _groups_exactly(p, subset, size=len(p)),
            sentence="one uniform decides for all features; with equal probabilities all are active or none",
        ),
        "groups": Activity(
            columns=lambda n, size: n // size,
            active=_groups_active,
            joint=_groups_joint,
            marginal=_each,
            exactly=_groups_exactly,
            exact_up_to=lambda: 4,
            misfit=_sizes_misfit,
            options={"size": _SIZE},
            sentence="'tied' within each set of features, independent between sets",
        ),
        "correlated": Activity(
            columns=lambda n, size: n + n // size,
            active=_correlated_active,
            joint=_correlated_joint,
            marginal=_each,
            exactly=_correlated_exactly,
            misfit=_sizes_misfit,
            options={
                "size": _SIZE,
                "correlation": Option(
                    "quantity", default=0.5, low=0.0, high=1.0, sentence="probability that a set is drawn as one"
                ),
            },
            sentence="a mixture: with probability `correlation` as 'groups', else as 'independent', for each set alone",
        ),
        "exclusive": Activity(
            columns=lambda n, size: n // size,
            active=_exclusive_active,
            joint=_exclusive_joint,
            marginal=_exclusive_marginal,
            exactly=_exclusive_exactly,
            possible=_exclusive_possible,
            most_active=lambda n, size: n // size,
            exact_up_to=lambda: 4,
            misfit=_sizes_misfit,
            options={"size": _SIZE},
            sentence="at most one feature per set, each with probability p / size; sets are independent",
        ),
        "one-hot": Activity(
            columns=lambda n: 1,
            active=_one_hot_active,
            joint=_one_hot_joint,
            marginal=_one_hot_marginal,
            exactly=_one_hot_exactly,
            possible=lambda subset, n: len(subset) == 1,
            most_active=lambda n: 1,
            exact_up_to=lambda: ANY_NUMBER,
            needs_probability=False,
            sentence="exactly one feature, feature i with probability p_i / sum p",
        ),
        "exactly-k": Activity(
            columns=lambda n: n,
            active=_exactly_k_active,
            joint=_exactly_k_joint,
            marginal=_exactly_k_marginal,
            exactly=_exactly_k_exactly,
            possible=lambda subset, n, active: len(subset) == active,
            most_active=lambda n, active: active,
            exact_up_to=lambda active: {1: ANY_NUMBER, 2: 4}.get(active, 3),
            misfit=_too_many,
            needs_probability=False,
            equal_only=True,
            scalars_up_to=32,  # `active` compares all pairs
            options={"active": Option("int", default=1, low=1, sentence="number of active features")},
            sentence="a random subset of `active` features, all subsets equally likely",
        ),
        "hierarchy": Activity(
            columns=lambda n: n,
            active=_hierarchy_active,
            joint=_hierarchy_joint,
            marginal=_hierarchy_marginal,
            exactly=_hierarchy_exactly,
            possible=_hierarchy_possible,
            misfit=graphs.misfit,
            options={"edges": graphs.EDGES},
            sentence="a feature is active only if all its parents are, then with its own probability: trees and graphs",
        ),
        "some-parents": Activity(
            columns=lambda n: n,
            active=_some_parents_active,
            misfit=graphs.misfit,
            options={
                "edges": graphs.EDGES,
                "needed": Option("int", default=1, sentence="number of parents, or all if it has fewer"),
            },
            sentence="the same, if at least `needed` of its parents are active",
        ),
        "copula": Activity(
            columns=lambda n: n,
            active=_copula_active,
            marginal=_each,
            misfit=_copula_misfit,
            options={"correlation": Option("numbers", sentence="matrix of correlations of the normals")},
            sentence="correlated normals decide (a Gaussian copula): feature i is active with probability p_i",
        ),
        "one-factor": Activity(
            columns=lambda n: n + 1,
            active=_one_factor_active,
            marginal=_each,
            options={
                "correlation": Option("quantity", default=0.5, low=0.0, high=1.0, sentence="of any two normals"),
            },
            sentence="the same, with one correlation of all pairs",
        ),
    },
)


def add_activity(
    name: str,
    *,
    columns: Callable[..., int],
    active: Callable[..., Bool[Array, "feature"]],
    joint: Callable[..., PerPair] | None = None,
    exactly: Callable[..., Numbers] | None = None,
    exact_up_to: int = 3,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds a rule for which of the n features of a sample are active.

    The functions get the spec's options as keywords. An option of type "quantity" is one number per instance, of shape
    (...) where p is (..., n); `columns` does not get it.

    Args:
        name: By which specs find it.
        columns: n -> k, the number of uniforms per sample.
        active: (u (k,) uniform on [0, 1), p (n,) the feature probabilities) -> (n,) booleans, in plain JAX.
        joint: p (..., n) -> (..., n, n), the probability that features i and j are both active (diagonal: that i is
            active), by operators and functions of `p.__array_namespace__()`. Checked by simulation before a run.
            None: `tmsjax.moments` measures it, and linear models have no exact loss.
        exactly: (p as a list over features, subset: features in ascending order) -> the probability that exactly these
            are active, for the exact loss of ReLU models; None: no exact loss.
        exact_up_to: The largest n of models with the exact loss, 1 to 5.
        options: Keys that it adds to [data].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> tmsjax.add_activity("at-once", columns=lambda n: 1, active=lambda u, p: u[0] < p)
        >>> tmsjax.load_spec(spec, ["data.activity=at-once"]).data.activity
        'at-once'
    """
    functions: dict[str, Callable] = {"columns": columns, "active": active}
    functions |= {k: v for k, v in {"joint": joint, "exactly": exactly}.items() if v is not None}
    checked_callables(ACTIVITIES, name, **functions)
    used, table = functions.values(), ("activity", "values", "sampler", "samples", "masks")
    options = checked_options(ACTIVITIES, name, options, table=table, used=used)
    if not isinstance(exact_up_to, int) or not 1 <= exact_up_to <= 5:
        raise ACTIVITIES.refuse(name, f"exact_up_to must be a whole number from 1 to 5, not {exact_up_to!r}")

    entry = Activity(
        columns=columns,
        active=active,
        joint=joint,
        exactly=exactly,
        exact_up_to=lambda: exact_up_to,
        options=options,
        sentence=sentence,
    )
    ACTIVITIES.add(name, entry)
