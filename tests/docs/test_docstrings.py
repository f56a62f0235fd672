"""Public names have docstrings with examples, and the examples run. (ruff checks their form.)"""

import doctest
import inspect
import re
import types
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

import tmsjax
from tmsjax.runs import Run
from tmsjax.spec import Spec

MAKES_THE_RUN = "tmsjax.run_sweep"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CLASSES = {"Run": Run, "Spec": Spec}  # of objects that users hold


def text_of(named) -> str:
    return inspect.getdoc(named) or ""


def public(namespace, prefix: str) -> dict:
    """Modules, functions and classes in `__all__` by full name."""
    found = {f"{prefix}.{name}": getattr(namespace, name) for name in namespace.__all__}
    return {prefix: namespace} | {k: v for k, v in found.items() if callable(v) or inspect.ismodule(v)}


def members(owner: type) -> dict:
    """Public methods and properties of a class by full name."""
    kinds = (types.FunctionType, property, cached_property)
    return {
        f"{owner.__name__}.{k}": v for k, v in vars(owner).items() if isinstance(v, kinds) and not k.startswith("_")
    }


EVERY = CLASSES | {name: value for owner in CLASSES.values() for name, value in members(owner).items()}
for space in (tmsjax, tmsjax.theory, tmsjax.plots):
    EVERY |= public(space, space.__name__)


def test_public_names_have_a_docstring_with_an_example():
    """A member of a class may be shown by the example of its class."""
    wrong = []
    for name, value in EVERY.items():
        owner, _, member = name.rpartition(".")
        shown = owner in CLASSES and re.search(rf">>> .*\.{member}\b", text_of(EVERY[owner]))
        if not text_of(value) or not (shown or "\nExamples:\n    >>> " in text_of(value)):
            wrong.append(name)
    assert wrong == []


def run_example(name: str, known: dict) -> str:
    """Runs the example of a docstring and adds the names that it defines to `known`. Returns what is wrong."""
    told: list[str] = []
    example = doctest.DocTestParser().get_doctest(text_of(EVERY[name]), known, name, None, None)
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append, clear_globs=False)
    known.update(example.globs)
    return "".join(told)


@pytest.mark.usefixtures("registries")
def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path.parent / f"{tmp_path.name}-examples"
    folder.mkdir()
    made = {"tmsjax": tmsjax, "np": np, "folder": folder}
    wrong = [run_example(MAKES_THE_RUN, made)]
    known = {name: made[name] for name in ("tmsjax", "np", "folder", "spec", "run")}
    wrong += [run_example(name, dict(known)) for name, value in EVERY.items() if ">>>" in text_of(value)]
    assert "".join(wrong) == ""
    assert not list(Path().iterdir()), "examples write only into their folder"
