"""Registries refuse invalid entries immediately, naming the entry, the value given and what is allowed."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import tmsjax
from tmsjax.errors import RegistryError
from tmsjax.kinds import ACTIVATIONS, FAMILIES, MEASURES, REGISTRIES, RESERVED, VALUES, called
from tmsjax.kinds.registry import importing

pytestmark = pytest.mark.usefixtures("registries")

TIED = {"W": ("hidden", "feature")}


def family(name="mine", **changes):
    tmsjax.add_family(name, **({"parameters": TIED, "apply": lambda p, x, f: f(p["W"].T @ (p["W"] @ x))} | changes))


def activity(name="mine", **changes):
    given = {"columns": lambda n: n, "active": lambda u, p: u < p, "joint": lambda p: p}
    tmsjax.add_activity(name, **(given | changes))


def values(quantile, mean=0.5, square=1 / 3):
    tmsjax.add_values("mine", quantile, mean=mean, square=square)


def raises(error):
    def function(v):
        raise error

    return function


class Odd(Exception):
    def __str__(self):
        return "\n  first line\nsecond line"


def option(*args, **options):
    return {"options": {"gain": tmsjax.Option(*args, **options)}, "target": lambda x, gain: gain * x}


BAD = {
    "name is no string": (lambda: tmsjax.add_activation(3, jnp.tanh), "activation 3: a name is"),
    "name in capitals": (lambda: tmsjax.add_activation("Tanh", jnp.tanh), "'Tanh': a name is a-z"),
    "built in": (lambda: tmsjax.add_activation("relu", jnp.tanh), "'relu': this name is built in"),
    "built-in study": (lambda: tmsjax.add_study("norms", lambda run: {}), "'norms': this name is built in"),
    "python if": (lambda: tmsjax.add_activation("mine", lambda v: v if v > 0 else 0.0), "fails .ValueError: The truth"),
    "activation's shape": (lambda: tmsjax.add_activation("mine", lambda v: v.sum()), r"float32\[\], not float32\[4\]"),
    "mean": (lambda: values(lambda u: u, mean=0.6), "mean = 0.6 does not fit the quantile: by quadrature it is 0.5"),
    "square": (lambda: values(lambda u: u, square=0.5), "square = 0.5 does not fit"),
    "moment": (lambda: values(lambda u: u, mean="0.5"), "mean = '0.5' does not fit"),
    "infinite at 1": (lambda: values(lambda u: -jnp.log1p(-u), 1, 2), "finite for every u"),
    "measure's shape": (lambda: tmsjax.add_measure("mine", lambda W: W.sum(-1)), r"not float64 of shape \(4, 5, 2\)"),
    "measure fails": (lambda: tmsjax.add_measure("mine", raises(Odd())), "Odd: first line"),
    "measure's type": (lambda: tmsjax.add_measure("mine", lambda W: (W + 1j).sum((-1, -2))), "real numbers"),
    "measure's dims": (lambda: tmsjax.add_measure("mine", np.sum, dims=("replica",)), "each at most once"),
    "measure of results": (lambda: tmsjax.add_measure("status", np.sum), "reserved"),
    "measure with a dash": (lambda: tmsjax.add_measure("my-norm", np.sum), "names a variable of the results"),
    "study": (lambda: tmsjax.add_study("mine", "module:function"), "draw must be a function"),
    "study's axes": (lambda: tmsjax.add_study("mine", print, most_axes=1.5), "most_axes must be a whole number"),
    "study's view": (lambda: tmsjax.add_study("mine", print, view="maps"), "view must be 'map' or 'line', not 'maps'"),
    "no parameters": (lambda: family(parameters={}), "must map names to dimensions"),
    "parameter's name": (lambda: family(parameters={"W 1": ("feature",)}), "'W 1' needs a name"),
    "reserved parameter": (lambda: family(parameters={"loss": ("feature",)}), "'loss': the name is reserved"),
    "parameter as dimension": (lambda: family(parameters={"feature": ("feature",)}), "reserved"),
    "dimension": (lambda: family(parameters={"W": ("hidden", "rank")}), r"'hidden', 'feature'|'feature', 'hidden'"),
    "dimension of results": (
        lambda: family(parameters={"V": ("hidden", "hidden"), "hidden_2": ("hidden",)}),
        "'hidden_2' is the name of a repeated dimension of 'V' in results",
    ),
    "sizes": (lambda: family(sizes={"pair"}), "sizes must map names of dimensions to functions"),
    "size": (lambda: family(sizes={"pair": 3}), "pair must be a function, not 3"),
    "name of a size": (lambda: family(sizes={"feature": lambda n: n}), "sizes: 'feature' cannot name a dimension"),
    "dimensions as a string": (lambda: family(parameters={"V": "hidden"}), "must be a tuple"),
    "quantity as size": (lambda: family(parameters={"V": ("gain",)}, **option("quantity", default=1.0)), "be a tuple"),
    "apply": (lambda: family(apply=None), "apply must be a function"),
    "directions": (lambda: family(directions="W"), "directions must be a function, not 'W'"),
    "options": (lambda: family(options=[1]), "options must map names"),
    "option": (lambda: family(options={"l1": 0.0}), "must be a tmsjax.Option of type"),
    "option's type": (lambda: family(**option("float")), "of type 'int', 'quantity', 'features'"),
    "option's name": (lambda: family(options={"L1": tmsjax.Option("int", default=1)}), "'L1': a name is a-z"),
    "option that nothing uses": (lambda: family(options={"l1": tmsjax.Option("int")}), "none of its functions"),
    "option's default": (lambda: family(**option("int", default=1.5)), "default must be a whole number"),
    "option's limits": (lambda: family(**option("int", low=3, high=2)), "low = 3 is above high = 2"),
    "a size of 0": (lambda: family(**option("int", default=0, low=-1)), "low must be at least 0"),
    "a function that exits": (lambda: tmsjax.add_activation("mine", lambda v: exit(0)), "fails .SystemExit"),
    "columns": (lambda: activity(columns=3), "columns must be a function, not 3"),
    "exactly": (lambda: activity(exactly=0.5), "exactly must be a function"),
    "exact_up_to": (lambda: activity(exact_up_to=6), "from 1 to 5, not 6"),
    "activity's option": (lambda: activity(options={"r": 0.5}, joint=lambda p, r: p), "tmsjax.Option of type .* 0.5"),
}


def test_bad_entries_are_refused_and_leave_nothing():
    before, wrong = {key: list(registry) for key, registry in REGISTRIES.items()}, []
    for name, (add, why) in BAD.items():
        try:
            add()
        except RegistryError as error:
            if not re.search(why, str(error)) or len(str(error).splitlines()) > 1:
                wrong.append(f"{name}: {error}")
        else:
            wrong.append(f"{name}: accepted")
    assert not wrong, "\n".join(wrong)
    assert before == {key: list(registry) for key, registry in REGISTRIES.items()}


def test_options_do_not_take_names_of_the_table_or_of_results():
    for key in ("features", "hidden", "activation", "family", "options", "feature", "step", "replica"):
        with pytest.raises(RegistryError, match=f"option '{key}': the name is taken"):
            family(options={key: tmsjax.Option("int", default=1)}, target=lambda x, **options: x)


def test_python_may_add_again_and_a_file_may_not():
    for factor in (1, 2):
        tmsjax.add_activation("mine", lambda v, factor=factor: factor * jnp.tanh(v))
    assert float(ACTIVATIONS["mine"].function(jnp.float32(100))) == 2
    with importing("/some.py"):
        with pytest.raises(RegistryError, match="'mine': this name is taken: Python added it"):
            tmsjax.add_activation("mine", jnp.tanh)
        tmsjax.add_activation("filed", jnp.tanh)
        with pytest.raises(RegistryError, match=r"'filed': this name is taken: /some.py added it"):
            tmsjax.add_activation("filed", jnp.tanh)
    with pytest.raises(RegistryError, match=r"'filed': this name is taken: /some.py added it"):
        tmsjax.add_activation("filed", jnp.tanh)
    ACTIVATIONS.remove_source("/some.py")
    assert "filed" not in ACTIVATIONS
    assert ACTIVATIONS.source("mine") is not None
    assert ACTIVATIONS.source("relu") is None


def test_options_are_given_to_those_that_name_them():
    options = {"a": 1, "b": 2}
    assert called(lambda x: x, 5, options=options) == 5
    assert called(lambda x, b: (x, b), 5, options=options) == (5, 2)
    assert called(lambda x, *, a=0: (x, a), 5, options=options) == (5, 1)
    assert called(lambda x, **rest: rest, 5, options=options) == options
    assert called(np.abs, -5, options=options) == 5


def test_moments_may_be_numbers_of_numpy_and_values_may_be_negative():
    values(lambda u: u - 0.5, np.float32(0), np.float64(1 / 12))
    assert VALUES["mine"].least is None
    tmsjax.add_values("ones", lambda u: u * 0 + 1, mean=1, square=1)
    assert VALUES["ones"].least == pytest.approx(1, rel=1e-4)
    assert not VALUES["ones"].zero_at_zero


def test_reserved_names_are_those_of_results():
    assert {"feature", "hidden", "loss", "status", "phase", "success", "class"} <= RESERVED
    family(parameters={"W": ("hidden", "feature"), "b": ("feature",)})
    assert FAMILIES["mine"].bias
    tmsjax.add_measure("rank", lambda W: np.linalg.matrix_rank(W))
    assert MEASURES["rank"].label == "rank"
