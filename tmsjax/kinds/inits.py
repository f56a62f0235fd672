"""Init rules: what becomes of a family's random parameters before step 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tmsjax.kinds.arrays import Number, Params, Quantities
from tmsjax.kinds.registry import Option, Registry, checked_callables, checked_options
from tmsjax.kinds.sweep import Sweep


def _fits(spec: Sweep) -> str | None:
    return None


@dataclass(frozen=True, eq=False)
class Init:
    """A rule for parameters before step 0. `add_init` describes the fields.

    Attributes:
        sets_W: Whether it needs a parameter W of dimensions (hidden, feature).
    """

    function: Callable[..., Params]
    sentence: str
    misfit: Callable[..., str | None] = _fits
    sets_W: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


def _stratified(params: Params, instance: Quantities) -> Params:
    """W with the signs of features 2, 3, ... relative to the first set by the bits of the replica's number.

    A 0 bit gives the opposite sign. Random bits of the cell flip all bits but the first, so that a few replicas of many
    features favour no sign. Any 2^(n - 1) consecutive replicas of a cell cover every pattern once.
    """
    import jax.numpy as jnp

    W = params["W"]
    code = instance.replica ^ (instance.cell[0] & ~np.uint32(1))
    features = min(W.shape[1] - 1, 32)
    bit = (code >> jnp.arange(features, dtype=jnp.uint32)) & np.uint32(1)
    relative = jnp.where(bit == 0, np.float32(-1), np.float32(1)) * jnp.sign(W[0, 0])
    signed = [W[:, :1], relative[None] * jnp.abs(W[:, 1 : features + 1]), W[:, features + 1 :]]
    return {**params, "W": jnp.concatenate(signed, axis=1)}


def _stratified_misfit(spec: Sweep) -> str | None:
    replica = spec.axis.get("replica")
    counted = replica is not None and len(replica) > 1 and replica.values == tuple(range(len(replica)))
    if counted and spec.model.hidden in (1, None) and spec.model.features != 1:
        return None
    return "needs replica = { count = K } with K of at least 2, model.hidden = 1 and at least 2 features"


def _polygon(
    params: Params, instance: Quantities, polygon: Number, polygon_norm: Number, polygon_bias: Number
) -> Params:
    """Adds a regular polygon to W, and its biases to b if there are any: features 0 to `polygon` - 1 (m = 2)."""
    import jax.numpy as jnp

    number = jnp.arange(params["W"].shape[1], dtype=jnp.float32)
    angle = number * (2 * np.pi / jnp.maximum(polygon, 1))
    length = jnp.where(number < polygon, polygon_norm, 0)
    moved = {"W": params["W"] + length[None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)])}
    if "b" in params:
        moved["b"] = params["b"] + jnp.where(number < polygon, polygon_bias, 0)
    return {**params, **moved}


def _polygon_misfit(spec: Sweep) -> str | None:
    """A polygon needs the plane, and one corner per feature."""
    if spec.model.hidden not in (2, None):
        return f"needs model.hidden = 2, not {spec.model.hidden}"
    corners = spec.evaluate("init.polygon")
    bad = corners[(corners > spec.model.features) | (corners != np.rint(corners))]
    if bad.size:
        return f"polygon needs whole numbers from 0 to model.features = {spec.model.features}; got {float(bad[0])!r}"
    return None


INITS: Registry[Init] = Registry(
    "init rule",
    {
        "random": Init(lambda params, instance: params, "as the family says"),
        "stratified": Init(
            _stratified,
            "over the replicas, every pattern of signs of W equally often (m = 1)",
            misfit=_stratified_misfit,
            sets_W=True,
        ),
        "polygon": Init(
            _polygon,
            "the first features on a regular polygon, plus the family's random parameters (m = 2)",
            misfit=_polygon_misfit,
            sets_W=True,
            options={
                "polygon": Option("quantity", low=0.0, sentence="number of its corners"),
                "polygon_norm": Option("quantity", default=1.0, low=0.0, sentence="norm of its features"),
                "polygon_bias": Option("quantity", default=0.0, sentence="b of its features"),
            },
        ),
    },
)


def add_init(
    name: str,
    function: Callable[..., Params],
    *,
    misfit: Callable[..., str | None] = _fits,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds a rule for the parameters before step 0.

    Args:
        name: By which specs find it: `[init] rule`.
        function: (parameters as the family draws them, instance) -> the parameters that change, in plain JAX. It gets
            the spec's options as keywords. The instance has `replica`, its number along that axis.
        misfit: Spec -> why it does not suit, or None.
        options: Keys that it adds to [init].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> tmsjax.add_init("positive", lambda params, instance: {"W": abs(params["W"])})
        >>> tmsjax.load_spec(spec, ["init.rule=positive"]).init.rule
        'positive'
    """
    checked_callables(INITS, name, function=function, misfit=misfit)
    checked = checked_options(INITS, name, options, table=("rule", "bias_scale"), used=[function])
    INITS.add(name, Init(function, sentence, misfit=misfit, options=checked))
