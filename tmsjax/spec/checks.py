"""Checks that involve more than one key of a spec. A key that could not be read is None and was reported before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from itertools import chain
from typing import Any

import numpy as np

from tmsjax.errors import first_line
from tmsjax.kinds import (
    ACTIVITIES,
    ANY_NUMBER,
    FAMILIES,
    INITS,
    MEASURES,
    OPTIMIZERS,
    REGISTRIES,
    REPLICA,
    SAMPLERS,
    STUDIES,
    VALUES,
    Activity,
    Family,
    Fixed,
    called,
    misfit,
)
from tmsjax.spec.boxes import Boxes, part_shape
from tmsjax.spec.keys import range_words, within
from tmsjax.spec.options import complete, declared_options, sizes, static
from tmsjax.spec.quantity import Curve, Report, Select, axes_used, shown, suggest
from tmsjax.spec.tables import BY_PARAMETER, TABLES, Spec

AT_ONCE = 10**7  # values of a quantity to check at once
MOST_VALUES = 2 * 10**9  # of one quantity
PROBABILITY = "instance.feature_probability"
EXACT = {"loss.kind", "data.samples", "data.sampler"}  # keys that an exact loss may not use


def check_whole(spec: Spec, report: Report, sound: bool, stored: bool) -> None:
    """Runs all checks; problems go to `report`.

    `sound`: whether every single key was read and is in range. `stored`: whether the spec belongs to a stored run,
    which may use unregistered names and only needs to open.
    """
    unused = dict(_unused(spec))
    for path, why in unused.items():
        report(path, why)
    if sound and not stored and not EXACT & unused.keys():
        _check_exact(spec, report)
    for path, name, problem in _misfits(spec, stored):
        if problem is not None and path not in unused:
            report(path, f"{name!r}: {problem}")
    _check_steps(spec, report)
    if spec.model.features is not None:
        _check_features(spec, report)
    if not stored:
        _check_names(spec, report)
    if spec.store.keep == "best":
        _check_best(spec, report)
    _check_study(spec, report, sound, stored)


def _check_exact(spec: Spec, report: Report) -> None:
    if spec.train.loss == "exact" and spec.exact_loss is None and _all_known(spec):
        report("train.loss", f"no exact loss is known for this model (known: {_known_exact()}); use 'sampled'")


def _known_exact() -> str:
    """The built-in models with an exact loss, in words."""
    features: dict[int, list[str]] = {}
    for name, activity in ACTIVITIES.items():
        if ACTIVITIES.source(name) is None and activity.exactly is not None:
            defaults = {key: option.default for key, option in activity.options.items()}
            features.setdefault(called(activity.exact_up_to, options=defaults), []).append(repr(name))
    limits = [
        f"{'any number' if most >= ANY_NUMBER else f'at most {most}'} with {', '.join(names)}"
        for most, names in features.items()
    ]
    values = ", ".join(name for name, entry in VALUES.items() if entry.exact_relu)
    return f"linear models; ReLU models with {values} values and a number of features: {'; '.join(limits)}"


def _all_known(spec: Spec) -> bool:
    keys = ("model.family", "data.activity", "data.sampler", "loss.kind")
    return all(getattr(getattr(spec, key.split(".")[0]), key.split(".")[1]) in REGISTRIES[key] for key in keys)


def _quantities(spec: Spec) -> Iterator[tuple[str, str, Any, Mapping]]:
    """(path, name for `spec.evaluate`, quantity, rule) of each quantity; an unregistered entry's rule is empty."""
    for table, cls in TABLES.items():
        part = getattr(spec, table)
        for f in fields(cls):
            if f.metadata.get("type") == "quantity":
                yield f"{table}.{f.name}", f.name, getattr(part, f.name), _rule(spec, f)
            elif f.metadata.get("type") == "by parameter":
                for key, value in getattr(part, f.name) or ():
                    yield f"{table}.{f.name}.{key}", f"{table}.{f.name}.{key}", value, f.metadata
        declared = declared_options(table, vars(part))
        for key, value in getattr(part, "options", ()):
            path, option = f"{table}.{key}", declared.get(key)
            if option is not None and option.varies:
                yield path, path, value, option.rule
            elif option is None and not isinstance(value, (int, Fixed)):
                yield path, path, value, {}


def _rule(spec: Spec, key: Field) -> Mapping:
    """The rule of a key's values. Some optimizers accept a negative weight decay."""
    optimizer = OPTIMIZERS.get(spec.train.optimizer)
    signed = key.name == "weight_decay" and optimizer is not None and optimizer.signed
    return {k: v for k, v in key.metadata.items() if k != "low"} if signed else key.metadata


def _unused(spec: Spec) -> Iterator[tuple[str, str]]:
    """(key, why) of keys that are given, and that nothing uses."""
    parts = (_unused_keys, _unused_parameters, _unused_axes, _unused_probability)
    for path, why, instead in chain.from_iterable(part(spec) for part in parts):
        yield path, f"{why}; drop it{instead}"


def _unused_keys(spec: Spec) -> Iterator[tuple[str, str, str]]:
    for path, used, who, instead in _uses(spec):
        table, _, key = path.partition(".")
        part = getattr(spec, table)
        value = getattr(part, key) if hasattr(part, key) else dict(part.options).get(key)
        if not used and value not in (getattr(TABLES[table], key, 1.0), 0.0, None):
            yield path, f"{who} does not use it", instead


def _uses(spec: Spec) -> Iterator[tuple[str, bool, str, str]]:
    """(key, whether it is used, by what, what else to do) of the keys that only some entries use."""
    train, data = spec.train, spec.data
    optimizer, sampler = OPTIMIZERS.get(train.optimizer), SAMPLERS.get(data.sampler)
    family = FAMILIES.get(spec.model.family)
    if optimizer is not None:
        for key in ("weight_decay", "momentum", "decays"):
            users = ", ".join(name for name, entry in OPTIMIZERS.items() if key in entry.uses)
            yield f"train.{key}", key in optimizer.uses, f"the optimizer {train.optimizer!r}", f", or use {users}"
    if sampler is not None:
        for key in ("data.activity", "data.values", "data.samples", PROBABILITY):
            yield key, key.partition(".")[2] in sampler.uses, f"the sampler {data.sampler!r}", ""
    if family is not None:
        for key in ("init.bias_scale", "init.polygon_bias"):
            yield key, family.bias, f"the family {spec.model.family!r} has no parameter b and", ""
        noisy = f"the family {spec.model.family!r}, whose noise is new at every step,"
        yield "data.samples", family.noise is None, noisy, ""
        yield "evaluation.noise", family.noise is not None, f"the family {spec.model.family!r} has no noise and", ""
    if train.loss == "exact":
        for key in sorted(EXACT):
            used = key == "data.sampler" and data.sampler != "shared-masks"
            yield key, used, "train.loss = 'exact'", ", or use 'sampled'"


def _unused_parameters(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Factors on parameters that are not trained."""
    if (family := FAMILIES.get(spec.model.family)) is None:
        return
    trained = [name for name in family.parameters if name not in family.frozen]
    for key in BY_PARAMETER:
        for name in sorted(dict(getattr(spec.train, key) or ()).keys() - {*trained}):
            why = f"the family {spec.model.family!r} has no trained parameter {name!r}"
            yield f"train.{key}.{name}", why, suggest(name, trained)


def _unused_axes(spec: Spec) -> Iterator[tuple[str, str, str]]:
    quantities = [value for _, _, value, _ in _quantities(spec)]
    used = {name for value in quantities for name in axes_used(value)}
    if any(map(_unread, quantities)) or spec.data.sampler == "run":  # axes may be the run's, see runs/source.py
        return
    for name in sorted(spec.axis.keys() - used - {REPLICA}):
        yield f"axes.{name}", "no quantity names this axis", ", or use it (for repeats, use 'replica')"


def _unused_probability(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Of an activity such as 'one-hot', to which only the ratios of probabilities in a model matter."""
    names = sorted(set(axes_used(spec.instance.feature_probability)))
    if names and _equal(spec) is True:
        why = f"an equal probability of all features has no effect with {spec.data.activity!r}"
        yield PROBABILITY, why, f", or the axis {', '.join(names)}"


def _equal(spec: Spec) -> bool | None:
    """Whether features of a model have equal probabilities; None if that is not to be known, or any may be given."""
    activity, probability, n = _readable_activity(spec), spec.instance.feature_probability, spec.model.features
    if n is None or activity is None or activity.needs_probability or not spec.data.featured:
        return None
    if _unread(probability) or not {*_list_lengths(probability)} <= {n} or _spans(spec, probability) > AT_ONCE:
        return None
    values = spec.evaluate("feature_probability")
    return not (values != values[..., :1]).any()


def _misfits(spec: Spec, stored: bool) -> Iterator[tuple[str, str, str | None]]:
    """(key, name, why it does not suit the rest of the spec, or None) of the entries that suit only some specs."""
    model, data, family = spec.model, spec.data, FAMILIES.get(spec.model.family)
    if family is not None:
        yield from _needs(spec, family)
    if model.features is None:
        return
    if family is not None and model.hidden is not None and complete("model", model):
        why = _asked(family.misfit, model.features, model.hidden, options=sizes(model.options))
        yield "model.features", model.family, why
    activity, sampler = _readable_activity(spec), SAMPLERS.get(data.sampler)
    if activity is not None and data.featured:
        if why := spec.drawn.misfit():
            yield f"data.{next(iter(activity.options), 'activity')}", data.activity, why
        elif sampler is not None:
            yield (
                "data.sampler",
                data.sampler,
                called(sampler.misfit, model.features, options=dict(static(data.options))),
            )
    quantities = [value for _, value in spec.init.options if not isinstance(value, (int, Fixed))]
    small = not any(_unread(value) or _spans(spec, value) > AT_ONCE for value in quantities)
    if not stored and small and complete("init", spec.init) and (rule := INITS.get(spec.init.rule)) is not None:
        yield "init.rule", spec.init.rule, _asked(rule.misfit, spec, options={})


def _asked(misfit: Callable[..., str | None], *arguments: object, options: Mapping[str, Any]) -> str | None:
    """What `misfit` says."""
    try:
        return called(misfit, *arguments, options=options)
    except Exception as error:  # a user's function may raise anything
        return f"misfit fails ({first_line(error)})"


def _needs(spec: Spec, family: Family) -> Iterator[tuple[str, str, str]]:
    """Those that need what this family has not."""
    tied = ", ".join(repr(name) for name, known in FAMILIES.items() if known.gram_only)
    lacks: list[tuple[str, str, str]] = []
    for path, name in {"train.optimizer": spec.train.optimizer, "loss.kind": spec.loss.kind}.items():
        entry = REGISTRIES[path].get(name)
        if entry is not None and entry.tied and not family.gram_only:
            lacks.append((path, name, f"whose output is f(W^T W x + b) ({tied})"))
    rule = INITS.get(spec.init.rule)
    if rule is not None and rule.sets_W and family.parameters.get("W") != ("hidden", "feature"):
        lacks.append(("init.rule", spec.init.rule, "with W (hidden, feature)"))
    for name in (spec.record.measures or ()) if family.directions is None else ():
        if name in MEASURES and MEASURES[name].function is not None:
            lacks.append(("record.measures", name, "with directions W"))
    for path, name, what in lacks:
        yield path, name, f"needs a family {what}, not {spec.model.family!r}"


def _check_streams(spec: Spec, report: Report) -> None:
    """A batch is one Sobol' net. If its columns exceed a quarter of its points, some repeat the activity of others."""
    data, batch = spec.data, spec.train.batch
    if data.sampler in ("shared-masks", "file", "run") or data.samples not in (0.0, None):
        report("train.streams", "'sobol' needs fresh samples of their own; use 'independent' or 'shared'")
        return
    columns = _columns(spec)
    if batch & (batch - 1) or columns > max(2, batch // 4):
        needs = f"a power of two of at least 4 x {columns} (columns of bits)" if columns > 2 else "a power of two"
        report("train.batch", f"streams = 'sobol' needs {needs}, not {batch}")


def _columns(spec: Spec) -> int:
    """The number of uniforms per sample; 0 if what gives it could not be read."""
    model, data, n = spec.model, spec.data, spec.model.features
    activity, sampler, family = _readable_activity(spec), SAMPLERS.get(data.sampler), FAMILIES.get(model.family)
    if activity is None or sampler is None or family is None or not complete("model", model):
        return 0
    try:
        if not data.featured:
            own = called(sampler.columns, n, options=sizes(data.options))
        else:
            own = n + (0 if activity.own else spec.drawn.columns())
        return own + spec.noises
    except Exception:  # a user's function; models/trial.py reports the error before a run
        return 0


def _readable_activity(spec: Spec) -> Activity | None:
    """The spec's activity; None if it is unregistered or its options could not be read."""
    return ACTIVITIES.get(spec.data.activity) if complete("data", spec.data) else None


def _check_steps(spec: Spec, report: Report) -> None:
    train = spec.train
    masks = dict(spec.data.options).get("masks") if spec.data.sampler == "shared-masks" else None
    for path, number in {"data.masks": masks, "engine.microbatch": spec.engine.microbatch}.items():
        if number and train.batch and train.batch % number:
            report(path, f"needs a divisor of train.batch = {train.batch}, not {number}")
    if spec.record.steps and train.steps and max(spec.record.steps) > train.steps:
        report("record.steps", f"step {max(spec.record.steps)} is beyond train.steps = {train.steps}")
    if train.streams == "sobol" and train.loss == "sampled" and train.batch and spec.model.features:
        _check_streams(spec, report)


def _check_names(spec: Spec, report: Report) -> None:
    """Parameters and sizes of a family become variables and dimensions of results, as axes and measures do."""
    if (family := FAMILIES.get(spec.model.family)) is None:
        return
    measures = (family.parameters.keys() - {"W"}) & MEASURES.keys()
    for name in sorted(measures | (spec.axis.keys() & {*family.parameters, *family.dimensions})):
        path, what = (f"axes.{name}", "an axis") if name in spec.axis else ("model.family", "a measure")
        report(
            path, f"the family {spec.model.family!r} has a parameter or size {name!r}, which is also {what}; rename it"
        )


def _check_best(spec: Spec, report: Report) -> None:
    """The best replica of a cell is the one of lowest loss, which can be compared only for equal inputs."""
    for key in ("importance", "feature_probability"):
        if REPLICA in axes_used(getattr(spec.instance, key)):
            report("store.keep", f"'best' needs replicas with equal {key}, but instance.{key} names {REPLICA!r}")


def _check_features(spec: Spec, report: Report) -> None:
    """Checks that need the number of features."""
    for path, name, value, rule in _quantities(spec):
        if rule and not _unread(value):
            _check_quantity(spec, path, name, rule, report)
    if spec.study.feature is not None and spec.study.feature >= spec.model.features:
        report("study.feature", f"needs a feature from 0 to {spec.model.features - 1}")
    if _equal(spec) is False and ACTIVITIES[spec.data.activity].equal_only:
        report(PROBABILITY, f"{spec.data.activity!r} needs one probability for all features, or none")


def _spans(spec: Spec, quantity: Any) -> int:
    """How many values a quantity has over its axes and the features."""
    axes = spec.axis.keys() & set(axes_used(quantity))  # without words such as "xavier"
    return math.prod(len(spec.axis[name]) for name in axes) * spec.model.features


def _check_quantity(spec: Spec, path: str, name: str, rule: Mapping, report: Report) -> None:
    for length in _list_lengths(spec.quantity(name)):
        if length != spec.length(name):
            what = "the model has outputs =" if spec.length(name) != spec.model.features else "model.features ="
            report(path, f"a list of {length} values, but {what} {spec.length(name)}")
            return
    if "words" in rule and spec.model.hidden is None:
        return
    if (size := _spans(spec, spec.quantity(name))) > MOST_VALUES:
        report(path, f"has {size:,} values over its axes and the features; at most {MOST_VALUES:,}")
        return
    used = set(axes_used(spec.quantity(name)))
    grid = tuple(len(axis) if axis.name in used else 1 for axis in spec.axes)
    for box in Boxes(grid, part_shape(grid, AT_ONCE // spec.model.features)):
        with np.errstate(all="ignore"):
            values = spec.evaluate(name, box).astype(np.float32)  # as in training
        bad = ~(np.isfinite(values) & (values < np.finfo(np.float32).max) & within(values, rule))
        if bad.any():
            first = tuple(np.argwhere(bad)[0])
            where = [f"feature {first[-1]}"] if values.shape[-1] > 1 else []
            along = zip(spec.axes, first, box.ranges, grid, strict=False)
            where += [f"{axis.name} = {shown(axis.values[r[k]])}" for axis, k, r, size in along if size > 1]
            text = f" for {', '.join(where)}" if where else ""
            kind = "whole numbers" if rule.get("whole") else "numbers"
            report(path, f"needs {kind} {range_words(rule)}; got {float(values[first])!r}{text}")
            return


def _check_study(spec: Spec, report: Report, sound: bool, stored: bool) -> None:
    if spec.study.x is not None and spec.study.x == spec.study.y:
        report("study.x", f"x and y are both {spec.study.x!r}")
    kind = spec.study.kind
    if kind is None or kind not in STUDIES or stored:
        return
    if problem := misfit(spec, kind) or (STUDIES[kind].unequal(spec) if sound else None):
        report("study.kind", problem)


def _unread(quantity: Any) -> bool:
    """Whether any part of a quantity could not be parsed."""
    if isinstance(quantity, Curve):
        return _unread((quantity.first, quantity.second))
    if isinstance(quantity, Select):
        return _unread(quantity.of)
    return any(map(_unread, quantity)) if isinstance(quantity, tuple) else quantity is None


def _list_lengths(value: Any) -> list[int]:
    """Lengths of the per-feature lists in a quantity."""
    if isinstance(value, Select):
        return [n for option in value.of for n in _list_lengths(option)]
    return [len(value)] if isinstance(value, tuple) else []
