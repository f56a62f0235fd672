"""The spec of a sweep: one frozen dataclass per TOML table, and the properties derived from them. No jax."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import (
    ACTIVATIONS,
    ACTIVITIES,
    FAMILIES,
    INITS,
    LOSSES,
    MEASURES,
    OPTIMIZERS,
    REPLICA,
    SAMPLERS,
    SCHEDULES,
    STUDIES,
    VALUES,
    Drawn,
    Fixed,
    called,
    one_per_feature,
)
from tmsjax.spec import html, old
from tmsjax.spec.boxes import Box
from tmsjax.spec.options import Options, call, declared_options, sizes, static
from tmsjax.spec.quantity import KEYED_CURVES, Axis, Curve, Select, evaluate
from tmsjax.spec.source import Rows, Source

SELECTIONS = ("best", "paper", "vote", "single")  # rules that choose among a cell's replicas; see analysis/phases.py
XAVIER = "xavier"
SAMPLES = "samples"  # of [data]; no "data.samples", which would be an option of the activity
MOST_SAMPLES = 2**24  # of a training set; float32 holds every number up to here
BY_PARAMETER = ("rates", "decays")  # keys of [train]
KEEPS = ("all", "results", "best")
LONGEST_AXIS = 2**24
MOST_INSTANCES = 10**15
RECORD_POINTS = 16
DEFAULT_STUDY = "phase-map"  # hashed if a spec names no study, as early versions stored it


def _key(default: Any = MISSING, **rule: Any) -> Any:
    """A spec key: its default and the rule that its value must satisfy (see keys.py)."""
    return field(default=default, metadata=rule) if default is not MISSING else field(metadata=rule)


@dataclass(frozen=True)
class Model:
    """[model]: sizes and kind of a model. `options`: keys that its family adds."""

    features: int = _key(type="int", low=1, high=2**16)
    hidden: int = _key(type="int", low=1, high=2**16)
    activation: str = _key("relu", type="choice", of=ACTIVATIONS)
    family: str = _key("tied", type="choice", of=FAMILIES)
    options: Options = ()


@dataclass(frozen=True)
class InstanceTable:
    """[instance]: quantities that define an instance. `init_scale`: standard deviation of all but b at init."""

    feature_probability: Any = _key(type="quantity", per_feature=True, low=0, low_open=True, high=1)
    importance: Any = _key(1.0, type="quantity", per_feature=True, low=0)
    init_scale: Any = _key(XAVIER, type="quantity", low=0, words=(XAVIER,))


@dataclass(frozen=True)
class Init:
    """[init]: further keys of the init. `bias_scale`: standard deviation of b. `options`: keys that the rule adds."""

    bias_scale: Any = _key(0.0, type="quantity", low=0)
    rule: str = _key("random", type="choice", of=INITS)
    options: Options = ()


@dataclass(frozen=True)
class Data:
    """[data]: how samples are drawn. `samples`: size of a training set.

    `options`: keys that the sampler and the activity add.
    """

    activity: str = _key("independent", type="choice", of=ACTIVITIES)
    values: str = _key("uniform", type="choice", of=VALUES)
    sampler: str = _key("features", type="choice", of=SAMPLERS)
    samples: Any = _key(0.0, type="quantity", low=0, high=MOST_SAMPLES, whole=True)  # 0: fresh samples at every step
    options: Options = ()

    def drawn(self, features: int, own: Mapping[str, Any] | None = None) -> Drawn:
        """The activity with its options, for models of `features` features.

        `own`: the values of options that are quantities; without them, only what needs none can be called.
        """
        return Drawn(ACTIVITIES[self.activity], features, (*static(self.options), *(own or {}).items()))

    @property
    def activity_options(self) -> dict[str, Any]:
        """The options of the activity, not of the sampler."""
        return {key: value for key, value in self.options if key in ACTIVITIES[self.activity].options}

    @property
    def files(self) -> tuple[str, ...]:
        """The paths that its sampler reads: of a file, or of runs."""
        found = [value for key, value in self.options if key in ("file", "run") and isinstance(value, Fixed)]
        return tuple(path for each in found for path in ([each.value] if isinstance(each.value, str) else each.value))

    @property
    def featured(self) -> bool:
        """Whether samples are made of features whose activity the table names."""
        return self.plain or (self.sampler in SAMPLERS and SAMPLERS[self.sampler].shape is not None)

    @property
    def plain(self) -> bool:
        """Whether samples are features whose activity and values the table names, as exact losses need."""
        return self.sampler in ("features", "shared-masks")


@dataclass(frozen=True)
class Train:
    """[train]: optimizer and random streams of the training.

    `rates`, `decays`: factors on learning_rate and weight_decay by parameter. `options`: keys that the optimizer and
    the schedule add.
    """

    steps: int = _key(type="int", low=1, high=2**31 - 1)
    optimizer: str = _key("adam", type="choice", of=OPTIMIZERS)
    learning_rate: Any = _key(1e-3, type="quantity", low=0)
    weight_decay: Any = _key(0.0, type="quantity", low=0)
    momentum: float = _key(0.0, type="float", low=0, high=1, high_open=True)
    schedule: str = _key("constant", type="choice", of=SCHEDULES)
    batch: int = _key(1024, type="int", low=1, high=2**20)
    loss: str = _key("sampled", type="choice", of=("sampled", "exact"))
    streams: str = _key("independent", type="choice", of=("independent", "shared", "sobol"))
    rates: Options = _key((), type="by parameter", low=0)
    decays: Options = _key((), type="by parameter", low=0)
    options: Options = ()


@dataclass(frozen=True)
class LossTable:
    """[loss]: what training minimises. `options`: keys that the kind adds."""

    kind: str = _key("square", type="choice", of=LOSSES)
    options: Options = ()


@dataclass(frozen=True)
class Evaluation:
    """[evaluation]: the loss that ranks models. `noise`: whether models have their noise then, too."""

    noise: str = _key("off", type="choice", of=("off", "on"))


@dataclass(frozen=True)
class Record:
    """[record]: measures to record, and the steps after which to record them (None: `Spec.record_steps` decides)."""

    measures: tuple[str, ...] = _key(("loss",), type="choices", of=MEASURES)
    steps: tuple[int, ...] | None = _key(None, type="steps")


@dataclass(frozen=True)
class Study:
    """[study]: kind of figures, axes of the map and the feature that it shows."""

    kind: str | None = _key(None, type="choice", of=STUDIES)  # None: chosen from the shape of the sweep
    x: str | None = _key(None, type="axis")
    y: str | None = _key(None, type="axis")
    feature: int | None = _key(None, type="int", low=0)


@dataclass(frozen=True)
class Engine:
    """How to train. 0 and "auto": the rule in engine/plan.py decides. Bits depend on all keys but `unit`."""

    block: int = _key(0, type="int", low=0, high=2**24)
    microbatch: int = _key(0, type="int", low=0, high=2**20)
    unit: int = _key(0, type="int", low=0, high=2**40)  # largest number of models to train and store at once
    kernel: str = _key("xla", type="choice", of=("xla", "pallas"))  # who compiles a step on a GPU, see docs/devices.md
    path: str = _key("auto", type="choice", of=("auto", "scalars", "stages", "arrays"))  # how to compute models


@dataclass(frozen=True)
class StoreTable:
    """[store]: what to keep of a finished sweep.

    "all": results and final checkpoints. "results": no checkpoints, which hold the state of the optimizer. "best": of
    each cell, the results of the replica of lowest loss, with counts and moments over the replicas.
    """

    keep: str = _key("all", type="choice", of=KEEPS)


@dataclass(frozen=True)
class Checkpoint:
    """When to save checkpoints. Does not affect results."""

    every_seconds: float = _key(60.0, type="float", low=0, high=1e9)
    segment_seconds: float = _key(2.0, type="float", low=0, high=3600)
    keep: int = _key(2, type="int", low=1)


@dataclass(frozen=True)
class Spec:
    """A sweep: `axes` span the table of instances, the other fields define one instance and its training.

    `imports`: files and modules that register names which the spec uses. `folder`: where relative imports start; two
    specs that differ only in it are equal. `source`: what `data.file` or `data.run` names, once it is read.

    Examples:
        >>> known = tmsjax.load_spec(spec)
        >>> list(known.axis), known.shape, known.instances, known.replica_axis, len(known.hash)
        (['feature_probability', 'extra_importance', 'replica'], (3, 3, 2), 18, 2, 64)
        >>> known.map_axes, known.mapped_feature, known.exact_loss, known.record_steps[-1]
        (('feature_probability', 'extra_importance'), 1, 'relu', 300)
        >>> known.quantity("importance"), known.evaluate("importance").shape
        ((1.0, 'extra_importance'), (1, 3, 1, 2))
        >>> known.drawn.joint(np.array([0.5, 0.5])), known.samples[1]
        (array([[0.5 , 0.25],
               [0.25, 0.5 ]]), 2)
        >>> known.inputs, known.outputs, known.length("importance"), known.sizes["hidden"], known.noises
        (2, 2, 2, 1, 0)
    """

    name: str
    model: Model
    instance: InstanceTable
    train: Train
    seed: int = 0
    axes: tuple[Axis, ...] = ()
    init: Init = Init()
    data: Data = Data()
    loss: LossTable = LossTable()
    evaluation: Evaluation = Evaluation()
    record: Record = Record()
    study: Study = Study()
    engine: Engine = Engine()
    store: StoreTable = StoreTable()
    checkpoint: Checkpoint = Checkpoint()
    imports: tuple[str, ...] = ()
    folder: str = field(default="", compare=False)
    source: Rows | Source | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        return f"<Spec {self.name}: {self.instances:,} instances, {html.description(self)['model']}>"

    def _repr_html_(self) -> str:
        return html.table(f"Spec {self.name}", html.description(self))

    @property
    def axis(self) -> dict[str, Axis]:
        """The axes by name."""
        return {a.name: a for a in self.axes}

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values along each axis."""
        return tuple(len(a) for a in self.axes)

    @property
    def instances(self) -> int:
        """The number of instances (models)."""
        return math.prod(self.shape)

    @property
    def hash(self) -> str:
        """SHA-256 of the study and of every key that affects results."""
        content = {k: v for k, v in to_dict(self).items() if k != "checkpoint"}
        content["engine"].pop("unit")
        if self.store == StoreTable():  # older versions had no such table
            content.pop("store")
        old.hashed(content)
        content["study"].setdefault("kind", DEFAULT_STUDY)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def map_axes(self) -> tuple[str | None, str | None]:
        """(y, x) of the map: the study's choice, else the first two axes other than replica."""
        free = [a.name for a in self.axes if a.name != REPLICA and a.name not in (self.study.x, self.study.y)]
        y = self.study.y or (free.pop(0) if free else None)
        x = self.study.x or (free.pop(0) if free else None)
        return y, x

    @property
    def mapped_feature(self) -> int:
        """The feature that maps show: the study's choice, else the last."""
        return self.model.features - 1 if self.study.feature is None else self.study.feature

    @property
    def drawn(self) -> Drawn:
        """The activity that draws a sample's features. Raises KeyError if a stored run's activity is unregistered."""
        return self.data.drawn(self.model.features)

    @property
    def samples(self) -> tuple[Data, int]:
        """How the features of a sample are drawn, and how many: as in this spec, or in the runs that `data.run` names.

        Raises SpecError if they are not read yet.
        """
        if self.data.sampler != "run":
            return self.data, self.model.features
        if not isinstance(self.source, Source):
            raise SpecError(self.name, [("data.run", "the run is not read yet; `run_sweep` reads it")])
        return self.source.data, self.source.features

    @property
    def sizes(self) -> dict[str, int]:
        """The length of every dimension that parameters can have, for families and samplers that are registered."""
        named, own = self._named_sizes, sizes(self.model.options)
        found = {"feature": named["n"], "hidden": named["m"], **own, "input": self.inputs, "output": self.outputs}
        return found | {name: call(size, named) for name, size in FAMILIES[self.model.family].sizes.items()}

    @property
    def inputs(self) -> int:
        """The number of inputs of a model. Raises SpecError if a file is not read yet."""
        if self.data.sampler == "file":
            if not isinstance(self.source, Rows):
                raise SpecError(self.name, [("data.file", "the file is not read yet; `run_sweep` reads it")])
            return self.source.array.shape[1]
        return called(SAMPLERS[self.data.sampler].inputs, self.model.features, options=sizes(self.data.options))

    def length(self, name: str) -> int:
        """The number of values of a quantity over features; importance has one per output if there are more outputs."""
        n = self.model.features
        if name != "importance":
            return n
        try:
            outputs = self.outputs
        except Exception:  # a user's function; models/trial.py reports the error before a run
            return n
        return max(n, outputs) if isinstance(outputs, int) else n

    @property
    def _named_sizes(self) -> dict[str, int]:
        """What functions of sizes get by name: n, m and options."""
        return {"n": self.model.features, "m": self.model.hidden, **sizes(self.model.options)}

    @property
    def outputs(self) -> int:
        """The number of outputs; that of features if the family is not registered or its sizes could not be read."""
        known = self._named_sizes
        if self.model.family not in FAMILIES or None in known.values():
            return self.model.features
        return call(FAMILIES[self.model.family].outputs, known)

    @property
    def noises(self) -> int:
        """The number of uniforms for noise in the model, for families that are registered."""
        noise = FAMILIES[self.model.family].noise
        known = self._named_sizes
        return 0 if noise is None else call(noise, known)

    @property
    def exact_loss(self) -> str | None:
        """The exact loss of these models: "relu" (models/expected.py), "linear" (models/loss.py), or None."""
        family, activation = FAMILIES.get(self.model.family), ACTIVATIONS.get(self.model.activation)
        values, sampler = VALUES.get(self.data.values), SAMPLERS.get(self.data.sampler)
        if family is None or activation is None or values is None or self.data.activity not in ACTIVITIES:
            return None
        loss = LOSSES.get(self.loss.kind)
        if loss is None or not loss.square or sampler is None or sampler.inputs is not one_per_feature:
            return None
        if not family.gram_only:
            return None
        if activation.exact == "linear":
            known = self.drawn.known if self.data.plain else sampler.covariance is not None
            return "linear" if known else None
        small = self.data.plain and 2 <= self.model.features <= self.drawn.exact_up_to()
        return "relu" if activation.exact == "relu" and small and values.exact_relu else None

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps after which to record measures: as given, else up to 16 log-spaced steps including the last.

        Uses fewer if the noise-free loss must be sampled, to keep its cost near a tenth of training's.
        """
        if self.record.steps is not None:
            return self.record.steps
        count = RECORD_POINTS
        if self.exact_loss is None:
            count = int(min(count, max(1, 0.3 * self.train.steps * self.train.batch / 2**16)))
        points = np.geomspace(1, self.train.steps, count) if count > 1 else [self.train.steps]
        return tuple(sorted({round(p) for p in points}))

    def quantity(self, name: str) -> Any:
        """The unevaluated quantity `name`: a key such as "importance", or "table.option"."""
        table, _, option = name.partition(".")
        if (key := option.partition(".")[0]) in BY_PARAMETER:
            return dict(getattr(self.train, key))[option.partition(".")[2]]
        if option:
            return dict(getattr(self, table).options)[option]
        return getattr(next(t for t in (self.instance, self.init, self.data, self.train) if hasattr(t, name)), name)

    @property
    def replica_axis(self) -> int | None:
        """The position of the replica axis among the axes."""
        return list(self.axis).index(REPLICA) if REPLICA in self.axis else None

    def evaluate(self, name: str, box: Box | None = None) -> np.ndarray:
        """Values of the quantity `name`, broadcastable to (axes..., features); see `quantity.evaluate`.

        `name`: a key such as "importance", or "table.option" for an option that a registry entry adds. `box`: the part
        of the grid to evaluate; None: all.
        """
        fan = self.model.features + (self.model.hidden or 0)  # hidden is None only while a spec is checked
        return evaluate(
            self.quantity(name),
            self.axis,
            features=self.length(name),
            seed=self.seed,
            words={XAVIER: math.sqrt(2 / fan)},
            part={} if box is None else dict(zip(self.axis, box.slices, strict=True)),
        )


TABLES = {
    "model": Model,
    "instance": InstanceTable,
    "init": Init,
    "data": Data,
    "train": Train,
    "loss": LossTable,
    "evaluation": Evaluation,
    "record": Record,
    "study": Study,
    "engine": Engine,
    "store": StoreTable,
    "checkpoint": Checkpoint,
}


ADDED_LATER = {  # keys that are written only if they are not the default, as older versions have no such keys
    "engine": ("kernel", "path"),
    "data": ("samples", "sampler"),
    "init": ("rule",),
    "train": BY_PARAMETER,
}


def option_quantities(spec: Spec) -> dict[str, Any]:
    """The quantities that only some specs have: options ("table.key"), factors by parameter, size of a training set."""
    found = {
        f"{table}.{key}": value
        for table in TABLES
        for key, value in getattr(getattr(spec, table), "options", ())
        if not isinstance(value, (int, Fixed))
    }
    found |= {f"train.{key}.{name}": v for key in BY_PARAMETER for name, v in getattr(spec.train, key)}
    if spec.data.samples != Data.samples:
        found[SAMPLES] = spec.data.samples
    return found


def per_feature(spec: Spec, name: str) -> bool:
    """Whether an option, "table.key", has one value per feature."""
    table, _, key = name.partition(".")
    declared = declared_options(table, vars(getattr(spec, table))) if table in TABLES else {}
    return key in declared and declared[key].type == "features"


def to_dict(spec: Spec) -> dict:
    """The spec as the plain dict that `load_spec` accepts, with defaults written out, but not of later keys."""
    out: dict[str, Any] = {"name": spec.name, "seed": spec.seed}
    if spec.imports:
        out["imports"] = list(spec.imports)
    out["axes"] = {a.name: {k: _plain(v) for k, v in a.source} for a in spec.axes}
    for table, cls in TABLES.items():
        part = getattr(spec, table)
        values = {f.name: getattr(part, f.name) for f in fields(cls) if f.name != "options"}
        values |= {key: dict(values[key]) for key in BY_PARAMETER if key in values}
        values |= dict(getattr(part, "options", ()))
        later = {key for key in ADDED_LATER.get(table, ()) if values[key] in (getattr(cls, key), {})}
        if table not in ("loss", "evaluation") or part != cls():
            out[table] = {k: _plain(v) for k, v in values.items() if v is not None and k not in later}
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Fixed):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, Curve):
        ends = [_plain(value.first), _plain(value.second)]
        keys = KEYED_CURVES.get(value.kind)
        body: dict[str, Any] = dict(zip(keys, ends, strict=True)) if keys else {value.kind: ends}
        return body | ({"permute": value.permute} if value.permute is not None else {})
    if isinstance(value, Select):
        return {"select": value.axis, "of": [_plain(v) for v in value.of]}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
