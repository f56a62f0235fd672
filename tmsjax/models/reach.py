"""Which parameters a loss depends on differentiably, whatever their values. The others have no gradient to follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
from jax.extend.core import Literal

from tmsjax.kinds.arrays import Params, Scalar


def unreached(
    loss: Callable[..., Scalar], params: Mapping[str, jax.ShapeDtypeStruct], *given: object
) -> frozenset[str]:
    """The parameters whose gradient is 0 because of how `loss(params, *given)` is written, as by `stop_gradient`.

    A gradient that is 0 only for some values, such as that of a dead neuron, does not count. `params` and `given` are
    made of shapes.
    """
    return frozenset(name for name in params if not _reached(loss, params, name, given))


def _reached(loss: Callable[..., Scalar], params: Mapping[str, jax.ShapeDtypeStruct], name: str, given: tuple) -> bool:
    """Whether the derivative of the loss along one parameter depends on the direction, which jax's zeros do not."""

    def slope(direction: Params, params: Params, *given: object) -> Scalar:
        return jax.jvp(lambda x: loss({**params, name: x}, *given), (params[name],), (direction,))[1]

    jaxpr = jax.make_jaxpr(slope)(params[name], params, *given).jaxpr
    found = {jaxpr.invars[0]}
    for e in jaxpr.eqns:
        if any(not isinstance(x, Literal) and x in found for x in e.invars):
            found |= set(e.outvars)
    (out,) = jaxpr.outvars
    return not isinstance(out, Literal) and out in found
