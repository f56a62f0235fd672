"""The model of one instance: the functions of the spec's family and activation, with their options bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tmsjax.kinds import ACTIVATIONS, FAMILIES, called, elementwise
from tmsjax.models.instances import Instance
from tmsjax.spec import Model, static


def sizes(model: Model) -> dict[str, int]:
    """The length of every named dimension."""
    return {"feature": model.features, "hidden": model.hidden, **dict(static(model.options))}


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of one instance."""
    length = sizes(model)
    return {name: tuple(length[d] for d in dims) for name, dims in FAMILIES[model.family].parameters.items()}


def init(normals: Mapping[str, Any], instance: Instance, model: Model) -> Mapping[str, Any]:
    """The parameters before step 0, from standard normals by parameter name."""
    return called(FAMILIES[model.family].init, normals, instance, options=_options(instance, model))


def apply(params: Mapping[str, Any], x: Any, instance: Instance, model: Model) -> Any:
    """The model's output (o,) for one sample `x` (n,); o is n, unless its family says otherwise."""
    options = _options(instance, model)
    return called(FAMILIES[model.family].apply, params, x, activation(model), options=options)


def target(x: Any, instance: Instance, model: Model) -> Any:
    """The desired output (o,) for one sample `x` (n,)."""
    return called(FAMILIES[model.family].target, x, options=_options(instance, model))


def penalty(params: Mapping[str, Any], x: Any, instance: Instance, model: Model) -> Any:
    """The penalty that training adds to the loss of one sample; None if the family has none."""
    family = FAMILIES[model.family]
    if family.penalty is None:
        return None
    return called(family.penalty, params, x, activation(model), options=_options(instance, model))


def directions(params: Mapping[str, Any], model: Model) -> Any:
    """W (m, n), features as columns; None if features have no directions."""
    family = FAMILIES[model.family]
    if family.directions is None:
        return None
    return called(family.directions, params, options=dict(static(model.options)))


def activation(model: Model) -> Callable[[Any], Any]:
    """The activation, for arrays and arrays of traced scalars."""
    function = ACTIVATIONS[model.activation].function
    return lambda v: elementwise(function, v)


def _options(instance: Instance, model: Model) -> dict[str, Any]:
    return dict(static(model.options)) | instance.own("model")
