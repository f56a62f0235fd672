"""What run.json holds about a run, as one frozen record. It is a dict only where it is read and written. No jax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from tmsjax.errors import RunError
from tmsjax.spec import Spec, Tiling, stored_spec

FORMAT = 3  # of a run's directory; increased when older versions cannot read it
EXTENDED = 4  # the format of runs that were extended
SECONDS = ("compiling", "training", "results")  # what the time of a unit is spent on


@dataclass(frozen=True)
class Extent:
    """A sweep as it was when a run of it began, or when its grid became larger.

    Attributes:
        spec: as TOML
        spec_hash: as computed then. Files are compared with it, so that later versions may hash other keys.
        unit: shape of the units in what was added; None: one unit
    """

    spec: str
    spec_hash: str = ""
    unit: tuple[int, ...] | None = None

    def loaded(self, source: str = "run.json", folder: str = "") -> Spec:
        """The spec. Raises SpecError."""
        return _loaded(self.spec, source, folder)


@lru_cache(maxsize=16)
def _loaded(text: str, source: str, folder: str) -> Spec:
    return stored_spec(text, source, folder)


def tiling(extents: Sequence[Extent], specs: Sequence[Spec], replicas: bool = True) -> Tiling:
    """The units of a run; without `replicas` those of its cells, if units hold whole cells."""
    axis = None if replicas else specs[0].replica_axis

    def cells(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(length for k, length in enumerate(shape) if k != axis)

    if any(e.unit is not None and len(e.unit) != len(spec.shape) for e, spec in zip(extents, specs, strict=True)):
        raise RunError("run.json is damaged: its units have another number of axes than the sweep")
    parts = [cells(e.unit or spec.shape) for e, spec in zip(extents, specs, strict=True)]
    return Tiling([cells(spec.shape) for spec in specs], parts)


@dataclass(frozen=True)
class RunFacts:
    """What run.json holds.

    Attributes:
        state: "running" (or interrupted), "complete", or "finished" early, with results of fewer steps
        steps_done: of a run of one unit, as of its last checkpoint
        spec: as run, as TOML
        spec_hash: of `spec`, when the run began or was extended
        plan: how the sweep is divided, see engine.Plan
        units: the number of units
        folder: from which relative paths in the spec start
        source: the run whose models were the data
        extents: how the grid grew, the last with `spec`; empty if it never did
        finished: the extents of complete results, while more steps or a larger grid are trained
        others: entries of other versions
    """

    spec: str
    versions: Mapping[str, str]
    format: int = FORMAT
    git_commit: str | None = None
    seed: int = 0
    started: str = ""
    state: str = "running"
    steps_done: int = 0
    spec_hash: str = ""
    device: str = ""
    platform: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    models: int = 0
    units: int = 1
    imports: tuple[Mapping[str, str], ...] = ()
    folder: str = ""
    source: Mapping[str, str] | None = None
    seconds_of_compiling: float = 0.0
    seconds_of_training: float = 0.0
    seconds_of_results: float = 0.0
    diverged_models: int | None = None
    peak_memory_bytes: int = 0
    extents: tuple[Extent, ...] = ()
    finished: tuple[Extent, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    def with_(self, **changes: Any) -> RunFacts:
        """A copy with some facts changed."""
        return replace(self, **changes)

    @property
    def all_extents(self) -> tuple[Extent, ...]:
        """How the grid grew, also if it never did."""
        unit = self.plan.get("unit")
        return self.extents or (Extent(self.spec, self.spec_hash, None if unit is None else tuple(unit)),)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunFacts:
        """Raises ValueError if an entry is missing or of another type."""
        value, known = dict(value), {}
        for each in fields(cls):
            if each.name in value and each.name != "others":
                found = value.pop(each.name)
                known[each.name] = _checked(each.name, str(each.type), found)
        if not FORMAT <= known.get("format", 0) <= EXTENDED:
            raise ValueError("no good format")
        if missing := [name for name in ("spec", "versions", "format", "state", "steps_done") if name not in known]:
            raise ValueError(f"no good {', '.join(missing)}")
        found = cls(**known, others=value)
        for extent in (*found.all_extents, *found.finished):
            unit = extent.unit
            if unit is not None and not all(type(length) is int and length > 0 for length in unit):
                raise ValueError("no good plan: its units have no shape")
        return found

    def to_json(self) -> dict[str, Any]:
        """The entries that are known."""
        value = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "others"}
        for name in ("extents", "finished"):
            value[name] = [vars(extent) for extent in value[name]]
        value = {name: found for name, found in value.items() if found not in (None, "", (), [], {})}
        return {"git_commit": None, "steps_done": 0, **value, **self.others}


TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "Mapping": dict, "tuple": list}


def _checked(name: str, kind: str, found: Any) -> Any:
    """An entry of run.json as its field's type. Raises ValueError."""
    if found is None and ("None" in kind or name == "git_commit"):
        return None
    wanted = TYPES[kind.partition(" |")[0].partition("[")[0]]
    if not isinstance(found, wanted) or (isinstance(found, bool) and wanted is not bool):
        raise ValueError(f"no good {name}")
    if name in ("extents", "finished"):
        return tuple(_extent(each, name) for each in found)
    if name == "plan" and not isinstance(found.get("unit"), list | None):
        raise ValueError("no good plan")
    return tuple(found) if isinstance(found, list) else found


def _extent(value: Any, name: str) -> Extent:
    try:
        unit = value["unit"]
        return Extent(str(value["spec"]), str(value["spec_hash"]), None if unit is None else tuple(unit))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no good {name}") from error
