"""Registries refuse invalid entries immediately, naming the entry, the value given and what is allowed."""

import jax.numpy as jnp
import numpy as np
import pytest

import tmsjax
from tmsjax.errors import RegistryError
from tmsjax.kinds import ACTIVATIONS, FAMILIES, MEASURES, REGISTRIES, RESERVED, VALUES, called

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
    "measure's name is no string": (lambda: tmsjax.add_measure(3, np.sum), "measure 3: a name is"),
    "name in capitals": (lambda: tmsjax.add_activation("Tanh", jnp.tanh), "'Tanh': a name is a-z"),
    "long name": (lambda: tmsjax.add_activation("a" * 64, jnp.tanh), "up to 62"),
    "built in": (lambda: tmsjax.add_activation("relu", jnp.tanh), "'relu': this name is built in"),
    "built-in study": (lambda: tmsjax.add_study("norms", lambda run: {}), "'norms': this name is built in"),
    "no function": (lambda: tmsjax.add_activation("mine", "tanh"), "function must be a function, not 'tanh'"),
    "python if": (lambda: tmsjax.add_activation("mine", lambda v: v if v > 0 else 0.0), "jax cannot trace"),
    "odd exception": (lambda: tmsjax.add_activation("mine", raises(Odd())), "Odd: first line"),
    "empty exception": (lambda: tmsjax.add_activation("mine", raises(KeyError())), r"\(KeyError\)"),
    "activation's shape": (lambda: tmsjax.add_activation("mine", lambda v: v.sum()), r"it gives float32\[\]"),
    "activation's type": (lambda: tmsjax.add_activation("mine", lambda v: v > 0), r"it gives bool\[4\]"),
    "not finite": (lambda: tmsjax.add_activation("mine", jnp.log), "all must be finite"),
    "mean": (lambda: values(lambda u: u, mean=0.6), "mean = 0.6 does not fit the quantile: by quadrature it is 0.5"),
    "square": (lambda: values(lambda u: u, square=0.5), "square = 0.5 does not fit"),
    "moment": (lambda: values(lambda u: u, mean="0.5"), "mean must be a finite number, not '0.5'"),
    "infinite at 1": (lambda: values(lambda u: -jnp.log1p(-u), 1, 2), "finite for every u"),
    "sorted": (lambda: values(lambda u: jnp.sort(u) if u.ndim else u * 0), "each element alone"),
    "measure's shape": (
        lambda: tmsjax.add_measure("mine", lambda W: W.sum(-1)),
        r"must return shape \(4, 5\), not \(4, 5, 2\)",
    ),
    "measure fails": (lambda: tmsjax.add_measure("mine", raises(Odd())), "Odd: first line"),
    "measure's type": (lambda: tmsjax.add_measure("mine", lambda W: (W + 1j).sum((-1, -2))), "real numbers"),
    "measure's dims": (lambda: tmsjax.add_measure("mine", np.sum, dims=("replica",)), "each at most once"),
    "measure's dims unhashable": (lambda: tmsjax.add_measure("mine", np.sum, dims=(["hidden"],)), "must be a tuple"),
    "measure of results": (lambda: tmsjax.add_measure("status", np.sum), "reserved"),
    "measure with a dash": (lambda: tmsjax.add_measure("my-norm", np.sum), "names a variable of the results"),
    "study": (lambda: tmsjax.add_study("mine", "module:function"), "draw must be a function"),
    "study's axes": (lambda: tmsjax.add_study("mine", print, most_axes=1.5), "most_axes must be a whole number"),
    "study's view": (lambda: tmsjax.add_study("mine", print, view="maps"), "view must be 'map' or 'line', not 'maps'"),
    "no parameters": (lambda: family(parameters={}), "must map names to dimensions"),
    "parameter's name": (lambda: family(parameters={"W 1": ("feature",)}), "'W 1' needs a name"),
    "reserved parameter": (lambda: family(parameters={"loss": ("feature",)}), "'loss': the name is reserved"),
    "parameter phase": (lambda: family(parameters={"phase": ("feature",)}), "reserved"),
    "parameter as dimension": (lambda: family(parameters={"feature": ("feature",)}), "reserved"),
    "dimension": (lambda: family(parameters={"W": ("hidden", "rank")}), r"'hidden', 'feature'|'feature', 'hidden'"),
    "dimension twice": (lambda: family(parameters={"V": ("hidden", "hidden")}), "each once"),
    "dimensions as a string": (lambda: family(parameters={"V": "hidden"}), "must be a tuple"),
    "quantity as dimension": (
        lambda: family(
            parameters={"V": ("r",)}, options={"r": tmsjax.Option("quantity", default=1.0)}, target=lambda x, r: x
        ),
        "must be a tuple",
    ),
    "apply": (lambda: family(apply=None), "apply must be a function"),
    "directions": (lambda: family(directions="W"), "directions must be a function, not 'W'"),
    "options": (lambda: family(options=[1]), "options must map names"),
    "option": (lambda: family(options={"l1": 0.0}), "must be a tmsjax.Option of type"),
    "option's type": (lambda: family(**option("float")), "of type 'int' or 'quantity'"),
    "option's name": (lambda: family(options={"L1": tmsjax.Option("int", default=1)}), "'L1': a name is a-z"),
    "option that nothing uses": (lambda: family(options={"l1": tmsjax.Option("int")}), "none of its functions"),
    "option's default": (lambda: family(**option("int", default=1.5)), "default must be a whole number"),
    "option's default out of range": (lambda: family(**option("quantity", default=-1.0, low=0.0)), "not in"),
    "option's limits": (lambda: family(**option("int", low=3, high=2)), "low = 3 is above high = 2"),
    "option's huge default": (lambda: family(**option("quantity", default=10**400)), "default must be a number"),
    "a size of 0": (lambda: family(**option("int", default=0, low=0)), "low must be at least 1"),
    "moments of small values": (lambda: values(lambda u: u * 1e-3, 2e-3, 1e-3), "does not fit the quantile"),
    "a function that exits": (lambda: tmsjax.add_activation("mine", lambda v: exit(0)), "cannot trace"),
    "columns": (lambda: activity(columns=3), "columns must be a function, not 3"),
    "exactly": (lambda: activity(exactly=0.5), "exactly must be a function"),
    "exact_up_to": (lambda: activity(exact_up_to=6), "from 1 to 5, not 6"),
    "activity's option": (
        lambda: activity(options={"rho": 0.5}, joint=lambda p, rho: p),
        "must be a tmsjax.Option of type 'int' or 'quantity', not 0.5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_entries_are_refused_and_leave_nothing(name):
    add, why = BAD[name]
    before = {key: list(registry) for key, registry in REGISTRIES.items()}
    with pytest.raises(RegistryError, match=why) as caught:
        add()
    assert len(str(caught.value).splitlines()) == 1
    assert before == {key: list(registry) for key, registry in REGISTRIES.items()}


@pytest.mark.parametrize("key", ["features", "hidden", "activation", "family", "options", "feature", "step", "replica"])
def test_options_do_not_take_names_of_the_table_or_of_results(key):
    with pytest.raises(RegistryError, match=f"option '{key}': the name is taken"):
        family(options={key: tmsjax.Option("int", default=1)}, target=lambda x, **options: x)


def test_a_module_may_add_again_and_another_may_not():
    code = "import tmsjax, jax.numpy as jnp\ntmsjax.add_activation('mine', lambda v: {} * jnp.tanh(v))"
    exec(code.format(1), {"__name__": "first"})
    exec(code.format(2), {"__name__": "first"})
    assert float(ACTIVATIONS["mine"].function(jnp.float32(100))) == 2
    with pytest.raises(RegistryError, match="'mine': this name is taken: first added it"):
        exec(code.format(3), {"__name__": "second"})
    assert ACTIVATIONS.source("mine") == "first"
    exec(code.format(3).replace("mine", "filed"), {"__name__": "any", "__file__": "/tmp/some.py"})
    assert ACTIVATIONS.source("filed") == "/tmp/some.py"
    ACTIVATIONS.remove_source("first")
    assert "mine" not in ACTIVATIONS
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
