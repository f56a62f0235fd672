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
    MEASURES,
    OPTIMIZERS,
    REPLICA,
    STUDIES,
    VALUES,
    Activity,
    called,
    drawn_by,
    misfit,
)
from tmsjax.spec.boxes import Boxes, part_shape
from tmsjax.spec.keys import range_words, within
from tmsjax.spec.options import declared_options, static
from tmsjax.spec.quantity import Curve, Report, Select, axes_used, shown
from tmsjax.spec.tables import POLYGON, TABLES, Init, Spec

AT_ONCE = 10**7  # values of a quantity to check at once
MOST_VALUES = 2 * 10**9  # of one quantity


def check_whole(spec: Spec, report: Report, sound: bool, stored: bool) -> None:
    """Runs all checks; problems go to `report`.

    `sound`: whether every single key was read and is in range. `stored`: whether the spec belongs to a stored run,
    which may use unregistered names and only needs to open.
    """
    _check_axes(spec, report)
    _check_train(spec, report)
    _check_attack(spec, report)
    _check_samples(spec, report)
    if spec.data.run is not None:
        _check_run(spec, report)
    if sound and not stored and spec.train.loss == "exact" and spec.exact_loss is None and _all_known(spec):
        report("train.loss", f"no exact loss is known for this model (known: {_known_exact()}); use 'sampled'")
    if spec.init.signs == "stratified":
        _check_signs(spec, report)
    _check_polygon(spec, report)
    family = FAMILIES.get(spec.model.family)
    for key in ("bias_scale", "polygon_bias"):
        if family is not None and not family.bias and getattr(spec.init, key) not in (0.0, None):
            report(f"init.{key}", f"the family {spec.model.family!r} has no bias")
    if spec.model.features is not None:
        _check_features(spec, report)
    _check_batches(spec, report)
    _check_record(spec, report)
    if not stored:
        _check_names(spec, report)
    if spec.store.keep == "best":
        _check_best(spec, report)
    _check_study(spec, report, sound, stored)


def _known_exact() -> str:
    """The built-in models with an exact loss, in words."""
    features: dict[int, list[str]] = {}
    for name in ACTIVITIES:
        if ACTIVITIES.source(name) is None:
            features.setdefault(drawn_by(name, ANY_NUMBER).exact_up_to(), []).append(repr(name))
    limits = [
        f"{'any number' if most >= ANY_NUMBER else f'at most {most}'} with {', '.join(names)}"
        for most, names in features.items()
    ]
    values = ", ".join(name for name, entry in VALUES.items() if entry.exact_relu)
    return f"linear models; ReLU models with {values} values and a number of features: {'; '.join(limits)}"


def _all_known(spec: Spec) -> bool:
    return spec.model.family in FAMILIES and spec.data.activity in ACTIVITIES


def _check_axes(spec: Spec, report: Report) -> None:
    quantities = [value for _, _, value, _ in _quantities(spec)]
    used = {name for value in quantities for name in axes_used(value)}
    if any(map(_unread, quantities)) or spec.data.run is not None:  # axes may be the run's, see runs/source.py
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
        declared = declared_options(table, vars(part))
        for key, value in getattr(part, "options", ()):
            path, option = f"{table}.{key}", declared.get(key)
            if option is not None and option.type == "quantity":
                yield path, path, value, option.rule
            elif option is None and not isinstance(value, int):
                yield path, path, value, {}


def _rule(spec: Spec, key: Field) -> Mapping:
    """The rule of a key's values. Some optimizers accept a negative weight decay."""
    optimizer = OPTIMIZERS.get(spec.train.optimizer)
    signed = key.name == "weight_decay" and optimizer is not None and optimizer.signed
    return {k: v for k, v in key.metadata.items() if k != "low"} if signed else key.metadata


def _check_train(spec: Spec, report: Report) -> None:
    train = spec.train
    chosen = OPTIMIZERS.get(train.optimizer)
    if chosen is not None and chosen.tied:
        _check_tied(spec, "train.optimizer", f"{train.optimizer!r} ", report)
    for key in ("weight_decay", "momentum"):
        users = [name for name, optimizer in OPTIMIZERS.items() if key in optimizer.uses]
        given = getattr(train, key) not in (0.0, None)
        if given and chosen is not None and key not in chosen.uses:
            named = " and ".join(filter(None, (", ".join(users[:-1]), users[-1])))
            verb = "uses" if len(users) == 1 else "use"
            report(f"train.{key}", f"only {named} {verb} it; the optimizer is {train.optimizer!r}")
    if train.streams == "sobol" and train.loss == "sampled" and train.batch and spec.model.features:
        _check_sobol(spec, report)


def _check_attack(spec: Spec, report: Report) -> None:
    """Only samples can be attacked, and only tied models have the analytic attack of models/attack.py."""
    if spec.train.attack in (0.0, None):
        return
    if spec.train.loss == "exact":
        report("train.attack", "only the sampled loss can be attacked; the loss is 'exact'")
    _check_tied(spec, "train.attack", "", report)


def _check_tied(spec: Spec, path: str, subject: str, report: Report) -> None:
    family = FAMILIES.get(spec.model.family)
    if family is not None and not family.gram_only:
        tied = ", ".join(repr(name) for name, entry in FAMILIES.items() if entry.gram_only)
        report(path, f"{subject}needs a family whose output is f(W^T W x + b) ({tied}), not {spec.model.family!r}")


def _check_samples(spec: Spec, report: Report) -> None:
    """A training set consists of independent samples that do not depend on the step."""
    if spec.data.samples in (0.0, None):
        return
    if spec.train.loss == "exact":
        report("data.samples", "the exact loss is that of infinitely many samples; use train.loss = 'sampled'")
    if spec.train.streams == "sobol":
        report("data.samples", "needs streams = 'independent' or 'shared'; 'sobol' has no training set")
    if spec.data.masks_per_batch:
        report("data.samples", "samples of a training set have their own masks; drop data.masks_per_batch")


def _check_run(spec: Spec, report: Report) -> None:
    """The features of a sample are drawn as in the run whose hidden layer is the data, so nothing else may say how."""
    for key, default in (("activity", "independent"), ("values", "uniform"), ("masks_per_batch", 0)):
        if getattr(spec.data, key) not in (default, None):
            report(f"data.{key}", "data.run decides how features are drawn; drop this key")
    if spec.instance.feature_probability not in (1.0, None):
        report("instance.feature_probability", "data.run decides how features are drawn; drop this key")
    if spec.train.attack not in (0.0, None):
        report("train.attack", "samples of data.run cannot be attacked")
    if spec.data.samples not in (0.0, None):
        report("data.samples", "data.run draws fresh samples at every step; drop this key")
    if spec.train.streams == "sobol":
        report("train.streams", "data.run needs 'independent' or 'shared', not 'sobol'")


def _check_sobol(spec: Spec, report: Report) -> None:
    """A batch is one Sobol' net. If its columns exceed a quarter of its points, some repeat the activity of others."""
    if spec.data.masks_per_batch:
        report("data.masks_per_batch", "needs streams = 'independent' or 'shared'; 'sobol' supports no masks")
    activity, batch = _readable_activity(spec), spec.train.batch
    if batch & (batch - 1):
        report("train.batch", f"streams = 'sobol' needs a power of two, not {batch}")
    elif activity is not None and spec.drawn.misfit() is None:
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
    train, masks = spec.train, spec.data.masks_per_batch
    if masks and train.loss == "exact":
        report("data.masks_per_batch", "only the sampled loss draws masks; the loss is 'exact'")
    elif masks and train.batch and train.batch % masks:
        report("data.masks_per_batch", f"needs a divisor of train.batch = {train.batch}, or 0")
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
    sizes = {key for key, option in family.options.items() if option.type == "int"}
    for name in sorted((family.parameters.keys() | sizes) & spec.axis.keys()):
        report(f"axes.{name}", f"{named} a parameter or a size of this name; rename the axis")
    for name in sorted((family.parameters.keys() - {"W"}) & MEASURES.keys()):
        report("model.family", f"{named} a parameter {name!r}, which is also a measure")


def _check_signs(spec: Spec, report: Report) -> None:
    replica = spec.axis.get(REPLICA)
    counted = replica is not None and len(replica) > 1 and [key for key, _ in replica.source] == ["count"]
    if not counted or spec.model.hidden not in (1, None) or spec.model.features == 1:
        needs = "replica = { count = K } with K of at least 2, model.hidden = 1 and at least 2 features"
        report("init.signs", f"'stratified' needs {needs}")
    family = FAMILIES.get(spec.model.family)
    if family is not None and family.parameters.get("W") != ("hidden", "feature"):
        report("init.signs", f"'stratified' sets the signs of W; the family {spec.model.family!r} has none")


def _check_polygon(spec: Spec, report: Report) -> None:
    """A polygon needs the plane and one corner per feature; its other keys need a polygon."""
    polygon, features = spec.init.polygon, spec.model.features
    if polygon == Init.polygon:
        for key in POLYGON[1:]:
            if getattr(spec.init, key) not in (getattr(Init, key), None):
                report(f"init.{key}", "has no effect without init.polygon")
        return
    family = FAMILIES.get(spec.model.family)
    if spec.model.hidden not in (2, None):
        report("init.polygon", f"needs model.hidden = 2, not {spec.model.hidden}")
    if family is not None and family.parameters.get("W") != ("hidden", "feature"):
        report("init.polygon", f"sets W; the family {spec.model.family!r} has none of shape (hidden, feature)")
    if _unread(polygon) or features is None or _list_lengths(polygon) or _spans(spec, polygon) > AT_ONCE:
        return
    corners = spec.evaluate("polygon")
    bad = corners[corners > features]
    if bad.size:
        report("init.polygon", f"needs whole numbers from 0 to model.features = {features}; got {float(bad[0])!r}")


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
    activity = _readable_activity(spec)
    if activity is None:
        return
    if problem := spec.drawn.misfit():
        report(f"data.{next(iter(activity.options), 'activity')}", f"{spec.data.activity!r}: {problem}")
    if not activity.needs_probability:
        _check_unused_probability(spec, activity, report)


def _check_sizes(spec: Spec, report: Report) -> None:
    """Whether the family's models can have these numbers of features and hidden dimensions."""
    family, sizes = FAMILIES.get(spec.model.family), dict(static(spec.model.options))
    if family is None or spec.model.hidden is None or None in dict(spec.model.options).values():
        return
    if problem := called(family.misfit, spec.model.features, spec.model.hidden, options=sizes):
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
        if length != spec.model.features:
            report(path, f"a list of {length} values, but model.features = {spec.model.features}")
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
