"""Docstrings of public names follow the convention in CONTRIBUTING.md, and their examples run.

Public names: those in `__all__` of tmsjax, tmsjax.theory and tmsjax.plots, and members of Run, Spec and Page.
"""

import ast
import doctest
import inspect
import re
import textwrap
import types
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

import tmsjax
from tmsjax.explorer import Page
from tmsjax.runs import Run
from tmsjax.spec import Spec

MAKES_THE_RUN = "tmsjax.run_sweep"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MARKUP = re.compile(r"(?<![\w`\\])(\|\S[^|]*\||\*\w)|\b\w+_(?![\w(])")  # what Sphinx would take for markup
SHAPE = re.compile(r"\([^()]*(\.\.\.|,)[^()]*\)|\([a-z]\)")


def text_of(named) -> str:
    return inspect.getdoc(named) or ""


def public(namespace, prefix: str) -> dict:
    """Functions and classes of a namespace by full name; modules in it, and functions and classes that these define."""
    found = {prefix: namespace}
    for name in namespace.__all__:
        value = getattr(namespace, name)
        if isinstance(value, types.ModuleType) and namespace is not tmsjax:
            defined = {k: v for k, v in vars(value).items() if getattr(v, "__module__", "") == value.__name__}
            found |= {f"{prefix}.{name}": value} | {
                f"{prefix}.{name}.{k}": v for k, v in defined.items() if not k.startswith("_")
            }
        elif callable(value):
            found[f"{prefix}.{name}"] = value
    return found


def members(owner: type) -> dict:
    """Public methods and properties of a class by full name."""
    kinds = (types.FunctionType, property, cached_property)
    return {
        f"{owner.__name__}.{k}": v for k, v in vars(owner).items() if isinstance(v, kinds) and not k.startswith("_")
    }


NAMESPACES = {"tmsjax": tmsjax, "tmsjax.theory": tmsjax.theory, "tmsjax.plots": tmsjax.plots}
CLASSES = {"Run": Run, "Spec": Spec, "Page": Page}  # of objects that users hold
EVERY = CLASSES | {name: value for owner in CLASSES.values() for name, value in members(owner).items()}
EVERY |= {name: value for prefix, space in NAMESPACES.items() for name, value in public(space, prefix).items()}
DRAWING = re.compile(r"tmsjax\.plots\.\w+\.\w+")  # functions of the modules of plots, which share an example


def code_of(value) -> ast.Module | None:
    function = value.fget if isinstance(value, property) else getattr(value, "func", value)
    return ast.parse(textwrap.dedent(inspect.getsource(function))) if inspect.isfunction(function) else None


def prose_of(text: str) -> str:
    """A docstring without its examples, code and quotations."""
    return re.sub(r'`[^`]*`|"[^"]*"', "code", text.split("\nExamples:\n")[0])


@pytest.mark.parametrize("name", EVERY)
def test_a_docstring_follows_the_convention(name):
    value, text = EVERY[name], text_of(EVERY[name])
    lines = text.splitlines()
    assert lines, "has none"
    assert lines[0].endswith("."), "the first line is a sentence"
    assert len(lines) == 1 or not lines[1], "a blank line follows it"
    assert not MARKUP.search(prose_of(text)), "formulas with such signs stand in backticks"
    code = code_of(value)
    if code is None:
        return
    if any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(code)):
        assert re.search(r"\bRaises \w+", text), "says what it raises"
    for node in ast.walk(code):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            assert node.exc.func.id in text, "names every error that it raises itself"
    returns = getattr(code.body[0], "returns", None)
    if returns is not None and "ndarray" in ast.unparse(returns):
        assert SHAPE.search(text), "gives shapes"
    arguments = inspect.signature(value).parameters if callable(value) and not DRAWING.fullmatch(name) else {}
    silent = [k for k, v in arguments.items() if v.kind is not v.VAR_KEYWORD and k not in ("self", "name")]
    assert [k for k in silent if not re.search(rf"\b{k}\b", text.split("\nExamples:\n")[0])] == []


@pytest.mark.parametrize("name", EVERY)
def test_a_docstring_has_an_example(name):
    text, (owner, _, member) = text_of(EVERY[name]), name.rpartition(".")
    if "\nExamples:\n" not in text and DRAWING.fullmatch(name):
        text = text_of(EVERY[owner])
    elif "\nExamples:\n" not in text and owner in CLASSES:  # the example of its class may show it
        text = text_of(EVERY[owner])
        assert re.search(rf">>> .*\.{member}\b", text)
    assert "\nExamples:\n    >>> " in text


def run_example(name: str, known: dict) -> None:
    """Runs the example of a docstring; adds the names that it defines to `known`."""
    told: list[str] = []
    example = doctest.DocTestParser().get_doctest(text_of(EVERY[name]), known, name, None, None)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(example, out=told.append, clear_globs=False)
    known.update(example.globs)
    assert not told, "".join(told)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict:
    """The names that examples may use."""
    names = {"tmsjax": tmsjax, "np": np, "folder": tmp_path_factory.mktemp("examples")}
    run_example(MAKES_THE_RUN, names)
    return {name: names[name] for name in ("tmsjax", "np", "folder", "spec", "run")}


@pytest.mark.parametrize("part", ["theory", "plots", "others"])
def test_examples_run(part, known, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in EVERY:
        second = f"{name}.".split(".")[1]
        its_part = second if second in ("theory", "plots") else "others"
        if its_part == part and name != MAKES_THE_RUN and ">>>" in text_of(EVERY[name]):
            run_example(name, dict(known))
    assert not list(Path().iterdir()), "examples write only into their folder"
