"""Checks that involve more than one key of a spec. A key that could not be read is None and was reported before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

import numpy as np

from tmsjax.kinds import (
    ACTIVITIES,
    ANY_NUMBER,
    FAMILIES,
    INITS,
    LOSSES,
    MEASURES,
    OPTIMIZERS,
    REGISTRIES,
    REPLICA,
    SAMPLERS,
    STUDIES,
    VALUES,
    Activity,
    Fixed,
    called,
    misfit,
)
from tmsjax.spec.boxes import Boxes, part_shape
from tmsjax.spec.keys import range_words, within
from tmsjax.spec.options import declared_options, sizes, static
from tmsjax.spec.quantity import Curve, Report, Select, axes_used, shown, suggest
from tmsjax.spec.tables import BY_PARAMETER, TABLES, Data, Spec

AT_ONCE = 10**7  # values of a quantity to check at once
MOST_VALUES = 2 * 10**9  # of one quantity


def check_whole(spec: Spec, report: Report, sound: bool, stored: bool) -> None:
    """Runs all checks; problems go to `report`.

    `sound`: whether every single key was read and is in range. `stored`: whether the spec belongs to a stored run,
    which may use unregistered names and only needs to open.
    """
    _check_axes(spec, report)
    if sound and not stored and spec.train.loss == "exact" and spec.exact_loss is None and _all_known(spec):
        report("train.loss", f"no exact loss is known for this model (known: {_known_exact()}); use 'sampled'")
    for path, used, why in _uses(spec):
        if not used:
            report(path, why)
    _check_W(spec, report)
    if spec.train.streams == "sobol" and spec.train.loss == "sampled" and spec.train.batch and spec.model.features:
        _check_sobol(spec, report)
    if spec.model.features is not None:
        _check_features(spec, report)
    if not stored:
        _check_rule(spec, report)
        _check_names(spec, report)
    _check_batches(spec, report)
    _check_record(spec, report)
    if spec.store.keep == "best":
        _check_best(spec, report)
    _check_study(spec, report, sound, stored)


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


def _check_axes(spec: Spec, report: Report) -> None:
    quantities = [value for _, _, value, _ in _quantities(spec)]
    used = {name for value in quantities for name in axes_used(value)}
    if any(map(_unread, quantities)) or spec.data.sampler == "run":  # axes may be the run's, see runs/source.py
        return
    for name in sorted(spec.axis.keys() - used - {REPLICA}):
        report(f"axes.{name}", "no quantity names this axis; use it or drop it (for repeats, use 'replica')")


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


def _uses(spec: Spec) -> Iterator[tuple[str, bool, str]]:
    """(key, whether it is used or not given, what else) of the keys that only some entries use."""
    train, data, family = spec.train, spec.data, FAMILIES.get(spec.model.family)
    if (chosen := OPTIMIZERS.get(train.optimizer)) is not None:
        for key in ("weight_decay", "momentum"):
            users = ", ".join(name for name, optimizer in OPTIMIZERS.items() if key in optimizer.uses)
            used = getattr(train, key) in (0.0, None) or key in chosen.uses
            yield f"train.{key}", used, f"the optimizer {train.optimizer!r} does not use it; drop it, or use {users}"
        users = ", ".join(name for name, optimizer in OPTIMIZERS.items() if optimizer.by_parameter)
        instead = f"use {users}, or add an optimizer with optax.add_decayed_weights(..., mask=...)"
        why = f"the optimizer {train.optimizer!r} does not decay by parameter; drop it, {instead}"
        yield "train.decays", not train.decays or chosen.by_parameter, why
    if (sampler := SAMPLERS.get(data.sampler)) is not None:
        why = f"the sampler {data.sampler!r} does not use it; drop this key"
        for key in ("activity", "values", "samples"):
            yield f"data.{key}", getattr(data, key) in (getattr(Data, key), None) or key in sampler.uses, why
        given = spec.instance.feature_probability not in (1.0, None)
        yield "instance.feature_probability", not given or "feature_probability" in sampler.uses, why
    if train.loss == "exact":
        why = "only train.loss = 'sampled' uses it; drop this key"
        yield "loss.kind", spec.loss.kind in ("square", None), why
        yield "data.samples", data.samples in (0.0, None), why
        yield "data.sampler", data.sampler != "shared-masks", why
    if family is not None:
        of = f"the family {spec.model.family!r} has no"
        biases = {"bias_scale": spec.init.bias_scale, "polygon_bias": dict(spec.init.options).get("polygon_bias")}
        for key, value in biases.items():
            yield f"init.{key}", family.bias or value in (0.0, None), f"{of} parameter b; drop it"
        yield "evaluation.noise", family.noise is not None or spec.evaluation.noise != "on", f"{of} noise; drop it"
        for key in BY_PARAMETER:
            for name, _ in getattr(train, key) or ():
                trained = [p for p in family.parameters if p not in family.frozen]
                yield f"train.{key}.{name}", name in trained, f"{of} trained parameter {name!r}{suggest(name, trained)}"


def _check_W(spec: Spec, report: Report) -> None:
    """Some optimizers and losses need a family f(W^T W x + b), some init rules a W."""
    if (family := FAMILIES.get(spec.model.family)) is None:
        return
    for path, entry in (
        ("train.optimizer", OPTIMIZERS.get(spec.train.optimizer)),
        ("loss.kind", LOSSES.get(spec.loss.kind)),
    ):
        if entry is not None and entry.tied and not family.gram_only:
            tied = ", ".join(repr(name) for name, known in FAMILIES.items() if known.gram_only)
            chosen = getattr(getattr(spec, path.partition(".")[0]), path.partition(".")[2])
            needs = f"{chosen!r} needs a family whose output is f(W^T W x + b) ({tied})"
            report(path, f"{needs}, not {spec.model.family!r}")
    rule = INITS.get(spec.init.rule)
    if rule is not None and rule.sets_W and family.parameters.get("W") != ("hidden", "feature"):
        report("init.rule", f"{spec.init.rule!r} sets W (hidden, feature); the family {spec.model.family!r} has none")


def _check_rule(spec: Spec, report: Report) -> None:
    rule, quantities = INITS.get(spec.init.rule), [value for key, value in spec.init.options]
    if rule is None or spec.model.features is None or any(map(_unread, quantities)):
        return
    if any(_spans(spec, value) > AT_ONCE for value in quantities if not isinstance(value, (int, Fixed))):
        return
    if problem := rule.misfit(spec):
        report("init.rule", f"{spec.init.rule!r} {problem}")


def _check_sobol(spec: Spec, report: Report) -> None:
    """A batch is one Sobol' net. If its columns exceed a quarter of its points, some repeat the activity of others."""
    activity, batch = _readable_activity(spec), spec.train.batch
    if batch & (batch - 1):
        report("train.batch", f"streams = 'sobol' needs a power of two, not {batch}")
    fresh = spec.data.sampler not in ("shared-masks", "file") and spec.data.samples in (0.0, None)
    if not fresh:
        report("train.streams", "'sobol' needs fresh samples of their own; use 'independent' or 'shared'")
    elif activity is not None and spec.data.featured and spec.drawn.misfit() is None:
        try:
            columns = spec.model.features + (0 if activity.own else spec.drawn.columns())
        except Exception:  # a user's function; models/trial.py reports the error before a run
            return
        if columns > max(2, batch // 4):
            report("train.streams", f"'sobol' needs a batch of at least 4 x {columns} (columns of bits), not {batch}")


def _readable_activity(spec: Spec) -> Activity | None:
    """The spec's activity; None if it is unregistered or its options could not be read."""
    return None if None in dict(spec.data.options).values() else ACTIVITIES.get(spec.data.activity)


def _check_batches(spec: Spec, report: Report) -> None:
    train, masks = spec.train, dict(spec.data.options).get("masks")
    if masks and spec.data.sampler == "shared-masks" and train.batch and train.batch % masks:
        report("data.masks", f"needs a divisor of train.batch = {train.batch}, not {masks}")
    if spec.engine.microbatch and train.batch and train.batch % spec.engine.microbatch:
        report("engine.microbatch", f"needs a divisor of train.batch = {train.batch}")
    if spec.record.steps and train.steps and max(spec.record.steps) > train.steps:
        report("record.steps", f"step {max(spec.record.steps)} is beyond train.steps = {train.steps}")


def _check_record(spec: Spec, report: Report) -> None:
    """Measures of W need a family whose features have directions."""
    family = FAMILIES.get(spec.model.family)
    if family is not None and family.directions is None:
        for name in spec.record.measures or ():
            if name in MEASURES and MEASURES[name].function is not None:
                report("record.measures", f"{name!r} needs directions W; the family {spec.model.family!r} has none")


def _check_names(spec: Spec, report: Report) -> None:
    """Parameters and sizes of a family become variables and dimensions of results, as axes and measures do."""
    if (family := FAMILIES.get(spec.model.family)) is None:
        return
    named = f"the family {spec.model.family!r} has"
    taken = {*family.parameters, *family.dimensions}
    for name in sorted(taken & spec.axis.keys()):
        report(f"axes.{name}", f"{named} a parameter or a size of this name; rename the axis")
    for name in sorted((family.parameters.keys() - {"W"}) & MEASURES.keys()):
        report("model.family", f"{named} a parameter {name!r}, which is also a measure")


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
    _check_sizes(spec, report)
    if spec.study.feature is not None and spec.study.feature >= spec.model.features:
        report("study.feature", f"needs a feature from 0 to {spec.model.features - 1}")
    activity, sampler = _readable_activity(spec), SAMPLERS.get(spec.data.sampler)
    if activity is None or not spec.data.featured:
        return
    if problem := spec.drawn.misfit():
        report(f"data.{next(iter(activity.options), 'activity')}", f"{spec.data.activity!r}: {problem}")
    elif sampler and (problem := called(sampler.misfit, spec.model.features, options=dict(static(spec.data.options)))):
        report("data.sampler", f"{spec.data.sampler!r}: {problem}")
    if not activity.needs_probability:
        _check_unused_probability(spec, activity, report)


def _check_sizes(spec: Spec, report: Report) -> None:
    """Whether the family's models can have these numbers of features and hidden dimensions."""
    family, whole = FAMILIES.get(spec.model.family), sizes(spec.model.options)
    if family is None or spec.model.hidden is None or None in dict(spec.model.options).values():
        return
    if problem := called(family.misfit, spec.model.features, spec.model.hidden, options=whole):
        report("model.features", f"{spec.model.family!r}: {problem}")


def _check_unused_probability(spec: Spec, activity: Activity, report: Report) -> None:
    """Refuses probabilities without effect: to an activity such as 'one-hot' only their ratios in a model matter."""
    path, probability = "instance.feature_probability", spec.instance.feature_probability
    lengths = set(_list_lengths(probability))
    if _unread(probability) or not lengths <= {spec.model.features} or _spans(spec, probability) > AT_ONCE:
        return
    values = spec.evaluate("feature_probability")
    equal = not (values != values[..., :1]).any()
    if activity.equal_only and not equal:
        report(path, f"{spec.data.activity!r} needs one probability for all features, or none")
    elif equal and (names := set(axes_used(probability))):
        unused = f"an equal probability of all features has no effect with {spec.data.activity!r}"
        report(path, f"{unused}; drop it, or the axis {', '.join(sorted(names))}")


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
