"""Loads a TOML file, or an equivalent dict, into a checked `Spec` and reports all problems at once, each with its key.

Does not import jax: an invalid spec fails before any heavy import, unless a file that the spec imports needs one.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import ACTIVITIES, OPTIMIZERS, REGISTRIES, SAMPLERS, Fixed, execute, located
from tmsjax.spec import old
from tmsjax.spec.axes import read_axes
from tmsjax.spec.checks import check_whole
from tmsjax.spec.keys import read_value
from tmsjax.spec.options import choosers, declared_options, others_with
from tmsjax.spec.quantity import Axis, is_number, parse, shown, suggest
from tmsjax.spec.tables import TABLES, Spec, to_dict

Problems = list[tuple[str, str]]


def load_spec(source: Spec | Mapping | str | PathLike, overrides: Sequence[str] = (), *, imports: bool = False) -> Spec:
    """Loads a spec from a TOML file, an equivalent dict or a `Spec`, with `overrides` such as "train.steps=2000".

    `source`: the file's path, the dict or the Spec. `imports`: whether to execute the files and modules that the spec
    imports. If False, names that they may register are accepted now and checked when the spec is run. Relative paths
    start at the file's folder, or at the working directory for a dict. Raises SpecError, which lists every problem with
    its key, the value given and what is allowed.

    Examples:
        >>> tmsjax.load_spec(spec, ["train.steps=2000"]).train.steps
        2000
        >>> tmsjax.load_spec(spec, ["train.stepz=2000"])  # lists every problem
        Traceback (most recent call last):
            ...
        tmsjax.errors.SpecError: spec: 1 problem
          train.stepz: unknown key; did you mean 'steps'? ...
    """
    overrides = [overrides] if isinstance(overrides, str) else overrides
    name, raw, folder = _raw(source)
    problems: Problems = []
    try:
        for override in overrides:
            _apply_override(raw, override, problems)
        raw = old.renewed(raw, lambda line: warnings.warn(f"{name}: {line}", FutureWarning, stacklevel=3))
        names = _import_names(raw, problems)
        if imports:
            execute(located(names, folder), REGISTRIES)
        spec = _Reader(problems, open_=bool(names) and not imports).spec(raw)
    except RecursionError:
        raise SpecError(name, [("", "nested too deeply")]) from None
    if problems or spec is None:
        raise SpecError(name, problems)
    return replace(spec, folder=folder)


def stored_spec(text: Any, source: str, folder: str = "") -> Spec:
    """Parses the TOML text of a stored run's spec. Accepts unknown names, which imports or a notebook may have added.

    `source`: the name to use in messages. `folder`: where relative imports start. Raises SpecError.
    """
    try:
        raw = tomllib.loads(text)
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SpecError(source, [("spec", f"not valid TOML: {error}")]) from error
    problems: Problems = []
    raw = old.renewed(raw, lambda line: None)
    _import_names(raw, problems)
    spec = _Reader(problems, open_=True, stored=True).spec(raw)
    if problems or spec is None:
        raise SpecError(source, problems)
    return replace(spec, folder=folder)


def json_copy(value: Any) -> Any:
    """A deep copy of `value` as plain dicts, lists and Python numbers; converts numpy arrays and scalars."""
    if isinstance(value, Mapping):
        return {str(k): json_copy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_copy(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def _raw(source: Any) -> tuple[str, dict, str]:
    """(name for messages, spec as a dict, folder where relative imports start)."""
    if isinstance(source, Spec):
        return "spec", json_copy(to_dict(source)), source.folder or str(Path.cwd())
    if isinstance(source, Mapping):
        try:
            return "spec", json_copy(source), str(Path.cwd())
        except RecursionError:
            raise SpecError("spec", [("", "nested too deeply")]) from None
    if not isinstance(source, (str, PathLike)):
        raise SpecError("spec", [("", f"needs a Spec, a dict or the path of a TOML file, not {shown(source)}")])
    return str(source), _read_toml(Path(source)), str(Path(source).absolute().parent)


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(str(path), [("", f"cannot be read: {reason}")]) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(str(path), [("", f"not valid TOML: {error}")]) from error


def _apply_override(raw: dict, override: str, problems: Problems) -> None:
    key, equals, text = override.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if not equals or not all(parts):
        given = f"--set {shown(override)}"
        problems.append((given, "an override is table.key=value, such as train.steps=2000"))
        return
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    for part in parts[:-1]:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            problems.append((f"--set {shown(key)}", f"{shown(part)} is not a table"))
            return
    raw[parts[-1]] = value


def _import_names(raw: Mapping, problems: Problems) -> list[str]:
    """The files and modules that the spec imports."""
    names = raw.get("imports", [])
    if not isinstance(names, list) or not all(isinstance(n, str) and n and n.isprintable() for n in names):
        problems.append(("imports", f"needs a list of files (ending in .py) or modules, not {shown(names)}"))
        return []
    if len(set(names)) < len(names):
        problems.append(("imports", f"contains an entry twice: {shown(names)}"))
    return names


class _Reader:
    """Converts a raw dict into a Spec and collects problems in a list; a key that cannot be read becomes None."""

    def __init__(self, problems: Problems, open_: bool, stored: bool = False):
        self.problems, self.open, self.stored = problems, open_, stored

    def report(self, path: str, message: str) -> None:
        self.problems.append((path if len(path) <= 120 else f"{path[:117]}...", message))

    def spec(self, raw: Mapping) -> Spec | None:
        top = {"name", "seed", "imports", "axes", *TABLES}
        for key in sorted(raw.keys() - top):
            self.report(key, f"unknown key{suggest(key, sorted(top))}")
        name, seed = raw.get("name"), raw.get("seed", 0)
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]{1,100}", name):
            given = "missing" if name is None else f"{shown(name)}"
            self.report("name", f"needs 1 to 100 of a-z, 0-9 and '-'; {given}")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            self.report("seed", f"needs a whole number from 0 to 2**63 - 1, not {shown(seed)}")
        axes = read_axes(raw.get("axes", {}), self.report)
        tables = {table: self.table(table, cls, raw.get(table, {}), axes) for table, cls in TABLES.items()}
        self.add_defaults(tables, raw)
        if any(table is None for table in tables.values()):
            return None
        imports = tuple(raw.get("imports", ())) if isinstance(raw.get("imports", []), list) else ()
        spec = Spec(str(name), seed=seed, axes=tuple(axes.values()), imports=imports, **tables)
        check_whole(spec, self.report, not self.problems, self.stored)
        return spec

    def add_defaults(self, tables: dict[str, Any], raw: Mapping) -> None:
        """Fills in defaults that depend on the value of another key."""
        train, instance, data = (tables[name] for name in ("train", "instance", "data"))  # None: not a table
        if train is not None and train.optimizer in OPTIMIZERS:
            defaults = OPTIMIZERS[train.optimizer].defaults.items()
            tables["train"] = replace(train, **{k: v for k, v in defaults if k not in raw.get("train", {})})
        if instance is not None and "feature_probability" not in raw.get("instance", {}):
            activity = None if data is None else ACTIVITIES.get(data.activity)
            sampler = None if data is None else SAMPLERS.get(data.sampler)
            if sampler is not None and "feature_probability" not in sampler.uses:
                tables["instance"] = replace(instance, feature_probability=1.0)
            elif activity.needs_probability if activity is not None else not self.open:
                self.report("instance.feature_probability", "is missing")
            else:
                tables["instance"] = replace(instance, feature_probability=1.0)

    def table(self, name: str, cls: type, raw: Any, axes: Mapping[str, Axis]) -> Any:
        if not isinstance(raw, dict):
            self.report(name, f"needs a table, not {shown(raw)}")
            return None
        known = {f.name: f for f in fields(cls) if f.name != "options"}
        values: dict[str, Any] = {}
        for key, spec_field in known.items():
            if key in raw:
                values[key] = self.value(raw[key], f"{name}.{key}", spec_field.metadata, axes)
            elif spec_field.default is MISSING and key != "feature_probability":  # see add_defaults
                self.report(f"{name}.{key}", "is missing")
        defaults = {f: None for f in known if known[f].default is MISSING}
        if len(known) < len(fields(cls)):
            chosen = {f.name: f.default for f in fields(cls)} | values
            values["options"] = self.options(name, raw, known, chosen, axes)
        else:
            for key in sorted(raw.keys() - known.keys()):
                self.report(f"{name}.{key}", f"unknown key{suggest(key, sorted(known))}")
        return cls(**(defaults | values))

    def options(self, name: str, raw: dict, known: Mapping, chosen: Mapping, axes: Mapping[str, Axis]) -> tuple:
        """Reads the keys that the registry entries chosen in a table add to it."""
        declared = declared_options(name, chosen)
        values = {}
        for key, option in declared.items():
            if key in raw:
                values[key] = self.value(raw[key], f"{name}.{key}", option.rule, axes)
            elif option.optional:
                continue
            elif option.default is None:
                self.report(f"{name}.{key}", f"is missing: {option.sentence or 'it has no default'}")
            else:
                values[key] = int(option.default) if option.type == "int" else float(option.default)
        for key in sorted(raw.keys() - known.keys() - declared.keys()):
            if None in (chosen[key] for key in choosers(name)):
                continue  # the entry that may add the key may be one that could not be read, and is reported already
            if self.open:
                values[key] = self.unknown_option(raw[key], f"{name}.{key}", axes)
            else:
                hint = others_with(name, key) or suggest(key, sorted([*known, *declared]))
                self.report(f"{name}.{key}", f"unknown key{hint}")
        return tuple(sorted(values.items()))

    def unknown_option(self, value: Any, path: str, axes: Mapping[str, Axis]) -> Any:
        """Reads a key that an unregistered entry may have added: a whole number, a quantity, a list or a path."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return value
        if isinstance(value, list) and all(isinstance(v, list) or is_number(v) for v in value):
            return read_value(value, path, {"type": "numbers"}, axes, self.report, self.open)
        if isinstance(value, list) and all(isinstance(v, str) and v not in axes for v in value):
            return read_value(value, path, {"type": "paths"}, axes, self.report, self.open)
        if isinstance(value, str) and value not in axes:
            return Fixed(value)
        return parse(value, path, axes, self.report, per_feature=True)

    def value(self, value: Any, path: str, rule: Mapping, axes: Mapping[str, Axis]) -> Any:
        return read_value(value, path, rule, axes, self.report, self.open)
