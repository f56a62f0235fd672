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
    MEASURES,
    OPTIMIZERS,
    REPLICA,
    SCHEDULES,
    STUDIES,
    VALUES,
    Drawn,
)
from tmsjax.spec import html
from tmsjax.spec.boxes import Box
from tmsjax.spec.options import Options, static
from tmsjax.spec.quantity import KEYED_CURVES, Axis, Curve, Select, evaluate
from tmsjax.spec.source import Source

SELECTIONS = ("best", "paper", "vote", "single")  # rules that choose among a cell's replicas; see analysis/phases.py
XAVIER = "xavier"
ATTACK = "train.attack"
SAMPLES = "samples"  # of [data]; no "data.samples", which would be an option of the activity
MOST_SAMPLES = 2**24  # of a training set; float32 holds every number up to here
POLYGON = ("polygon", "polygon_norm", "polygon_bias")  # keys of [init]
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
    """[init]: further keys of the init. `bias_scale`: standard deviation of b. `signs`: the rule for the signs of W.

    `polygon`: the number k of features, the first ones, that start on a regular k-gon of norm `polygon_norm` with
    biases `polygon_bias` (m = 2); W and b of the others start at 0. init_scale and bias_scale are the noise on all of
    it. 0: no polygon.
    """

    bias_scale: Any = _key(0.0, type="quantity", low=0)
    signs: str = _key("random", type="choice", of=("random", "stratified"))
    polygon: Any = _key(0.0, type="quantity", low=0, whole=True)
    polygon_norm: Any = _key(1.0, type="quantity", low=0)
    polygon_bias: Any = _key(0.0, type="quantity")


@dataclass(frozen=True)
class Data:
    """[data]: how samples are drawn. `samples`: size of a training set. `options`: keys that the activity adds.

    `run`: directory of a finished run whose hidden layer is the data instead; see spec/source.py.
    """

    activity: str = _key("independent", type="choice", of=ACTIVITIES)
    values: str = _key("uniform", type="choice", of=VALUES)
    masks_per_batch: int = _key(0, type="int", low=0, high=2**20)  # 0: one mask per sample
    samples: Any = _key(0.0, type="quantity", low=0, high=MOST_SAMPLES, whole=True)  # 0: fresh samples at every step
    run: str | None = _key(None, type="path")
    options: Options = ()

    def drawn(self, features: int, own: Mapping[str, Any] | None = None) -> Drawn:
        """The activity with its options, for models of `features` features.

        `own`: the values of options that are quantities; without them, only what needs none can be called.
        """
        return Drawn(ACTIVITIES[self.activity], features, (*static(self.options), *(own or {}).items()))


@dataclass(frozen=True)
class Train:
    """[train]: optimizer, loss and random streams of the training."""

    steps: int = _key(type="int", low=1, high=2**31 - 1)
    optimizer: str = _key("adam", type="choice", of=OPTIMIZERS)
    learning_rate: Any = _key(1e-3, type="quantity", low=0)
    weight_decay: Any = _key(0.0, type="quantity", low=0)
    momentum: float = _key(0.0, type="float", low=0, high=1, high_open=True)
    schedule: str = _key("constant", type="choice", of=SCHEDULES)
    batch: int = _key(1024, type="int", low=1, high=2**20)
    loss: str = _key("sampled", type="choice", of=("sampled", "exact"))
    streams: str = _key("independent", type="choice", of=("independent", "shared", "sobol"))
    attack: Any = _key(0.0, type="quantity", low=0)  # radius of attacks on samples, over their root mean square norm


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
    specs that differ only in it are equal. `source`: the models that `data.run` names, once they are read.

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
    """

    name: str
    model: Model
    instance: InstanceTable
    train: Train
    seed: int = 0
    axes: tuple[Axis, ...] = ()
    init: Init = Init()
    data: Data = Data()
    record: Record = Record()
    study: Study = Study()
    engine: Engine = Engine()
    store: StoreTable = StoreTable()
    checkpoint: Checkpoint = Checkpoint()
    imports: tuple[str, ...] = ()
    folder: str = field(default="", compare=False)
    source: Source | None = field(default=None, compare=False, repr=False)

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
        for table, key in (("engine", "kernel"), ("engine", "path"), ("train", "attack"), ("data", "samples")):
            if content[table][key] == getattr(TABLES[table], key):  # older versions had no such key
                content[table].pop(key)
        if self.init.polygon == Init.polygon:  # older versions had no such keys
            for key in POLYGON:
                content["init"].pop(key)
        if self.store == StoreTable():  # older versions had no such table
            content.pop("store")
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
        """How the features of a sample are drawn, and how many: as in this spec, or in the run that `data.run` names.

        Raises SpecError if that run is not read yet.
        """
        if self.data.run is None:
            return self.data, self.model.features
        if self.source is None:
            raise SpecError(self.name, [("data.run", "the run is not read yet; `run_sweep` reads it")])
        return self.source.data, self.source.features

    @property
    def exact_loss(self) -> str | None:
        """The exact loss of these models: "relu" (models/expected.py), "linear" (models/loss.py), or None."""
        if self.data.run is not None:
            return None
        family, activation = FAMILIES.get(self.model.family), ACTIVATIONS.get(self.model.activation)
        values = VALUES.get(self.data.values)
        if family is None or activation is None or values is None or self.data.activity not in ACTIVITIES:
            return None
        if not family.gram_only:
            return None
        if activation.exact == "relu":
            small = 2 <= self.model.features <= self.drawn.exact_up_to()
            return "relu" if small and values.exact_relu else None
        return activation.exact

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
        if name == ATTACK or table == "init":
            return getattr(getattr(self, table), option)
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
            features=self.model.features,
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
    "record": Record,
    "study": Study,
    "engine": Engine,
    "store": StoreTable,
    "checkpoint": Checkpoint,
}


def option_quantities(spec: Spec) -> dict[str, Any]:
    """The quantities that only some specs have: options ("table.key"), attack, size of the training set, polygon."""
    found = {
        f"{table}.{key}": value
        for table in ("model", "data")
        for key, value in getattr(spec, table).options
        if not isinstance(value, int)
    }
    if spec.train.attack != Train.attack:
        found[ATTACK] = spec.train.attack
    if spec.data.samples != Data.samples:
        found[SAMPLES] = spec.data.samples
    if spec.init.polygon != Init.polygon:
        found |= {f"init.{key}": getattr(spec.init, key) for key in POLYGON}
    return found


def to_dict(spec: Spec) -> dict:
    """The spec as the plain dict that `load_spec` accepts, with defaults written out."""
    out: dict[str, Any] = {"name": spec.name, "seed": spec.seed}
    if spec.imports:
        out["imports"] = list(spec.imports)
    out["axes"] = {a.name: {k: _plain(v) for k, v in a.source} for a in spec.axes}
    for table, cls in TABLES.items():
        part = getattr(spec, table)
        values = {f.name: getattr(part, f.name) for f in fields(cls) if f.name != "options"}
        values |= dict(getattr(part, "options", ()))
        out[table] = {k: _plain(v) for k, v in values.items() if v is not None}
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Curve):
        ends = [_plain(value.first), _plain(value.second)]
        keys = KEYED_CURVES.get(value.kind)
        body: dict[str, Any] = dict(zip(keys, ends, strict=True)) if keys else {value.kind: ends}
        return body | ({"permute": value.permute} if value.permute is not None else {})
    if isinstance(value, Select):
        return {"select": value.axis, "of": [_plain(v) for v in value.of]}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
