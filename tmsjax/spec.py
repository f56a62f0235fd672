"""The spec of a sweep: frozen dataclasses, what they derive, their hash, text and difference. No jax."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

import numpy as np

from tmsjax import quantity as quantities
from tmsjax.quantity import Axis, evaluate, is_number

ACTIVATIONS = ("relu", "linear", "gelu")
FAMILIES = ("tied", "tied-no-bias")
VALUES = ("uniform", "constant", "half-normal")
MEASURES = ("loss", "norm", "superposition", "dimensionality", "W")
SELECTIONS = ("best", "paper", "vote", "single")  # among the replicas of a cell; see analysis.py
XAVIER = "xavier"
REPLICA = "replica"  # the axis that repeats a cell; the one axis that no quantity need name
LONGEST_AXIS = 2**24
LIMITS = {  # of the figures of a kind of study: most axes besides replica, most cells
    "vectors": (2, 100),
    "gram": (1, 40),
    "geometry": (1, LONGEST_AXIS),
    "norms": (2, 100),
}
STUDIES = ("phase-map", *LIMITS)
RECORD_POINTS = 16
EXACT_FEATURES = 3  # of ReLU models whose exact loss training and evaluation use; beyond them samples are cheaper
MOST_WEIGHTS = 2**33
ADAMW_DECAY = 0.01  # as in the paper's notebook, where adamw is given no weight_decay


class SpecError(ValueError):
    """A spec that cannot run. `problems` lists every (key, what is wrong); the text shows them all."""

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]):
        self.source = source
        self.problems = tuple(problems)
        lines = [f"{source}: {len(self.problems)} problem{'s' * (len(self.problems) != 1)}"]
        lines += [f"  {path}: {message}" if path else f"  {message}" for path, message in self.problems]
        super().__init__("\n".join(lines))


def _key(default: Any = MISSING, **rule: Any) -> Any:
    """A spec key: its default, and the rule that its value must meet (see `_Loader.value`)."""
    return field(default=default, metadata=rule) if default is not MISSING else field(metadata=rule)


@dataclass(frozen=True)
class Model:
    features: int = _key(type="int", low=1, high=2**16)
    hidden: int = _key(type="int", low=1, high=2**16)
    activation: str = _key("relu", type="choice", of=ACTIVATIONS)
    family: str = _key("tied", type="choice", of=FAMILIES)


@dataclass(frozen=True)
class InstanceTable:
    feature_probability: Any = _key(type="quantity", per_feature=True, low=0, low_open=True, high=1)
    importance: Any = _key(1.0, type="quantity", per_feature=True, low=0)
    init_scale: Any = _key(XAVIER, type="quantity", low=0, words=(XAVIER,))


@dataclass(frozen=True)
class Init:
    bias_scale: Any = _key(0.0, type="quantity", low=0)
    signs: str = _key("random", type="choice", of=("random", "stratified"))


@dataclass(frozen=True)
class Data:
    activity: str = _key("independent", type="choice", of=("independent", "tied"))
    values: str = _key("uniform", type="choice", of=VALUES)
    masks_per_batch: int = _key(0, type="int", low=0, high=2**20)  # 0: every sample has its own


@dataclass(frozen=True)
class Train:
    steps: int = _key(type="int", low=1, high=2**31 - 1)
    optimizer: str = _key("adam", type="choice", of=("adam", "adamw", "sgd", "rmsprop"))
    learning_rate: Any = _key(1e-3, type="quantity", low=0)
    weight_decay: Any = _key(0.0, type="quantity", low=0)
    momentum: float = _key(0.0, type="float", low=0, high=1, high_open=True)
    schedule: str = _key("constant", type="choice", of=("constant", "linear", "cosine"))
    batch: int = _key(1024, type="int", low=1, high=2**20)
    loss: str = _key("sampled", type="choice", of=("sampled", "exact"))
    streams: str = _key("independent", type="choice", of=("independent", "shared", "sobol"))


@dataclass(frozen=True)
class Record:
    measures: tuple[str, ...] = _key(("loss",), type="choices", of=MEASURES)
    steps: tuple[int, ...] | None = _key(None, type="steps")


@dataclass(frozen=True)
class Study:
    kind: str = _key("phase-map", type="choice", of=STUDIES)
    x: str | None = _key(None, type="axis")
    y: str | None = _key(None, type="axis")
    feature: int | None = _key(None, type="int", low=0)


@dataclass(frozen=True)
class Engine:
    """How the work is cut (bits depend on it). 0 leaves the choice to the rule in ensemble.py."""

    block: int = _key(0, type="int", low=0, high=2**24)
    microbatch: int = _key(0, type="int", low=0, high=2**20)
    tile: int = _key(0, type="int", low=0, high=2**31 - 1)  # blocks on the devices at once; no bit depends on it


@dataclass(frozen=True)
class Checkpoint:
    """When to save; no result depends on it."""

    every_seconds: float = _key(60.0, type="float", low=0, high=1e9)
    segment_seconds: float = _key(2.0, type="float", low=0, high=3600)
    keep: int = _key(2, type="int", low=1)


@dataclass(frozen=True)
class Spec:
    """A sweep: `axes` span the table of instances; everything else says what one instance is and does."""

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
    checkpoint: Checkpoint = Checkpoint()

    @property
    def axis(self) -> dict[str, Axis]:
        return {a.name: a for a in self.axes}

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(a) for a in self.axes)

    @property
    def instances(self) -> int:
        return math.prod(self.shape)

    @property
    def hash(self) -> str:
        """sha256 over everything that results depend on."""
        content = {k: v for k, v in to_dict(self).items() if k != "checkpoint"}
        content["engine"].pop("tile")
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def map_axes(self) -> tuple[str | None, str | None]:
        """(y, x) of the map: as the study says, else the first two axes that are not replica."""
        free = [a.name for a in self.axes if a.name != REPLICA and a.name not in (self.study.x, self.study.y)]
        y = self.study.y or (free.pop(0) if free else None)
        x = self.study.x or (free.pop(0) if free else None)
        return y, x

    @property
    def mapped_feature(self) -> int:
        return self.model.features - 1 if self.study.feature is None else self.study.feature

    @property
    def exact_loss(self) -> str | None:
        """Which exact loss gives the noise-free loss: "relu" (expected.py), "linear" (theory.py), or None."""
        if self.model.family not in ("tied", "tied-no-bias"):
            return None
        if self.model.activation == "linear":
            return "linear"
        small = self.model.activation == "relu" and 2 <= self.model.features <= EXACT_FEATURES
        return "relu" if small and self.data.values == "uniform" else None

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps after which measures are recorded: as asked, else log-spaced and always the last.

        Where the noise-free loss must be sampled, fewer of them, so that it stays a tenth of the training.
        """
        if self.record.steps is not None:
            return self.record.steps
        count = RECORD_POINTS
        if self.exact_loss is None:
            count = int(min(count, max(1, 0.3 * self.train.steps * self.train.batch / 2**16)))
        points = np.geomspace(1, self.train.steps, count) if count > 1 else [self.train.steps]
        return tuple(sorted({round(p) for p in points}))

    def evaluate(self, name: str) -> np.ndarray:
        """Values of the quantity `name`, broadcast over axes and features; see `quantity.evaluate`."""
        table = next(t for t in (self.instance, self.init, self.train) if hasattr(t, name))
        fan = self.model.features + (self.model.hidden or 0)  # hidden is None only while a spec is checked
        return evaluate(
            getattr(table, name),
            self.axis,
            features=self.model.features,
            seed=self.seed,
            words={XAVIER: math.sqrt(2 / fan)},
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
    "checkpoint": Checkpoint,
}
QUANTITIES = tuple(
    (table, f.name) for table, cls in TABLES.items() for f in fields(cls) if f.metadata["type"] == "quantity"
)


def misfit(spec: Spec, kind: str) -> str | None:
    """Why the figures of a study of this kind cannot show the spec's models; None if they can."""
    axes = [a for a in spec.axes if a.name != REPLICA]
    most_axes, most_cells = LIMITS.get(kind, (len(axes), spec.instances))
    cells = math.prod(len(a) for a in axes)
    if len(axes) > most_axes:
        few = f"at most {most_axes} {'axes' if most_axes > 1 else 'axis'} besides replica"
        return f"{kind!r} shows {few}, not {', '.join(a.name for a in axes)}"
    if cells > most_cells:
        return f"{kind!r} shows at most {most_cells} cells, not {cells:,}"
    if kind == "vectors" and spec.model.hidden not in (2, None):
        return f"'vectors' draws a plane: it needs model.hidden = 2, not {spec.model.hidden}"
    return None


def unequal(spec: Spec, kind: str) -> str | None:
    """Why figures over 1/p cannot show the spec's models: all features of a model need one probability, every cell
    another. None if they can."""
    if kind != "geometry":
        return None
    values = spec.evaluate("feature_probability")
    axes = {a.name: len(a) for a in spec.axes if a.name != REPLICA}
    if (values != values[..., :1]).any():
        return "'geometry' needs one probability for all features of a model"
    different = len(np.unique(values))
    if different < 2 or different != math.prod(axes.values()):
        named = ", ".join(axes) or "no axis"
        return f"'geometry' needs an axis of at least 2 probabilities, none twice; got {different} along {named}"
    return None


def to_dict(spec: Spec) -> dict:
    """The spec as the plain dict that `load_spec` takes, defaults written out."""
    out: dict[str, Any] = {"name": spec.name, "seed": spec.seed}
    out["axes"] = {a.name: {k: _plain(v) for k, v in a.source} for a in spec.axes}
    for table, cls in TABLES.items():
        values = {f.name: getattr(getattr(spec, table), f.name) for f in fields(cls)}
        out[table] = {k: _plain(v) for k, v in values.items() if v is not None}
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, quantities.Curve):
        ends = [_plain(value.first), _plain(value.second)]
        keys = quantities.KEYED_CURVES.get(value.kind)
        body: dict[str, Any] = dict(zip(keys, ends, strict=True)) if keys else {value.kind: ends}
        return body | ({"permute": value.permute} if value.permute is not None else {})
    if isinstance(value, quantities.Select):
        return {"select": value.axis, "of": [_plain(v) for v in value.of]}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def to_toml(spec: Spec) -> str:
    """The spec as TOML text; `load_spec` of it gives an equal spec."""
    raw = to_dict(spec)
    lines = [f"{key} = {_toml(raw.pop(key))}" for key in ("name", "seed")]
    for table, body in raw.items():
        if body:
            lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in body.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if is_number(value) else json.dumps(value, ensure_ascii=False)


def difference(old: Spec, new: Spec) -> list[str]:
    """Lines 'key: old -> new' for every key that results depend on in which two specs differ."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, dict) and path.count(".") < 1:
            items = [flat(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()]
            return {k: v for item in items for k, v in item.items()}
        return {path: value}

    a, b = flat(to_dict(old), ""), flat(to_dict(new), "")
    keys = [k for k in dict.fromkeys([*a, *b]) if not k.startswith("checkpoint.") and k != "engine.tile"]
    return [f"{k}: {a.get(k, 'absent')} -> {b.get(k, 'absent')}" for k in keys if a.get(k) != b.get(k)]


def grows(old: Spec, new: Spec) -> bool:
    """Whether `new` only trains for more steps than `old`, so that its run goes on where that one ended.

    That needs a constant schedule; steps to record may be added beyond the old end.
    """
    if old.train.schedule != "constant" or new.train.steps <= old.train.steps:
        return False
    train, record = replace(old.train, steps=new.train.steps), replace(old.record, steps=new.record.steps)
    before = [s for s in new.record.steps or () if s <= old.train.steps]
    kept = before == list(old.record.steps or ()) and (new.record.steps is None) == (old.record.steps is None)
    return kept and not difference(replace(old, train=train, record=record), new)
