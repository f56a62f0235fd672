"""Schedules: the factors of built-in ones with their options, those that users add, and what is refused."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import bound, plain_spec

import tmsjax
from tmsjax.errors import RegistryError, SpecError
from tmsjax.kinds import SCHEDULES
from tmsjax.models import check_spec
from tmsjax.models.optimized import factor
from tmsjax.spec import load_spec

pytestmark = pytest.mark.usefixtures("registries")
STEPS = 40


def factors(**train) -> np.ndarray:
    """The factors of all steps."""
    raw = plain_spec(3, 2, train={"steps": STEPS, **train})
    check_spec(load_spec(raw))
    problem, row, _ = bound(raw)
    return np.array([factor(problem, row, jnp.int32(k), jnp.int32(STEPS)) for k in range(STEPS)])


def of_optax(schedule) -> np.ndarray:
    return np.array([schedule(k) for k in range(STEPS)])


EXPECTED = {
    "constant": ({"warmup": 8}, optax.linear_schedule(0.0, 1.0, 8)),
    "cosine": ({"floor": 0.1}, optax.cosine_decay_schedule(1.0, STEPS, 0.1)),
    "cosine, warm-up": ({"warmup": 8, "floor": 0.1}, optax.warmup_cosine_decay_schedule(0.0, 1.0, 8, STEPS, 0.1)),
    "linear": ({"floor": 0.25}, optax.linear_schedule(1.0, 0.25, STEPS)),
    "linear, warm-up": (
        {"warmup": 8},
        optax.join_schedules([optax.linear_schedule(0.0, 1.0, 8), optax.linear_schedule(1.0, 0.0, STEPS - 8)], [8]),
    ),
    "cosine, restarts": (
        {"restarts": 4, "warmup": 4},
        lambda k: k / 4 if k < 4 else optax.cosine_decay_schedule(1.0, 9)((k - 4) % 9),
    ),
    "no warm-up": (
        {"schedule": "cosine", "warmup": 0, "floor": 0.0, "restarts": 1},
        optax.cosine_decay_schedule(1.0, STEPS),
    ),
    "all warm-up": ({"schedule": "linear", "warmup": 2 * STEPS}, lambda k: k / (2 * STEPS)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_options_of_schedules(name):
    options, schedule = EXPECTED[name]
    given = {"schedule": name.partition(",")[0], **options}
    np.testing.assert_allclose(factors(**given), of_optax(schedule), rtol=1e-5, atol=1e-6)


def test_restarts_are_exact_at_the_first_step_of_every_cycle():
    raw = plain_spec(3, 2, train={"steps": 4900, "schedule": "linear", "restarts": 49})
    problem, row, _ = bound(raw)
    found = [float(factor(problem, row, jnp.int32(k), jnp.int32(4900))) for k in range(0, 4900, 100)]
    assert found == [1.0] * 49


def test_schedules_of_papers_are_a_few_lines():
    """The decomposition papers' quarter of a cosine after warm-up, and that of Liu, Liu and Gore, a step ahead."""

    def quarter(step, steps, warmup):
        late = jnp.cos(0.5 * jnp.pi * (step - warmup) / (steps - warmup - 1))
        return jnp.where(step < warmup, step / warmup, late)

    def ahead(step, steps, warmup, floor):
        late = floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * (step + 1 - warmup) / (steps - warmup)))
        return jnp.where(step + 1 < warmup, (step + 1) / warmup, late)

    warmup = tmsjax.Option("quantity", low=1.0, default=4.0)
    tmsjax.add_schedule("quarter", quarter, options={"warmup": warmup})
    floor = tmsjax.Option("quantity", default=0.05)
    tmsjax.add_schedule("ahead", ahead, options={"warmup": warmup, "floor": floor})
    k = np.arange(STEPS)
    expected = np.where(k < 4, k / 4, np.cos(0.5 * np.pi * (k - 4) / (STEPS - 4 - 1)))
    np.testing.assert_allclose(factors(schedule="quarter"), expected, rtol=1e-5, atol=1e-6)
    expected = np.where(k + 1 < 4, (k + 1) / 4, 0.05 + 0.475 * (1 + np.cos(np.pi * (k + 1 - 4) / (STEPS - 4))))
    np.testing.assert_allclose(factors(schedule="ahead"), expected, rtol=1e-5, atol=1e-6)


def test_endless_schedules_do_not_know_the_number_of_steps():
    tmsjax.add_schedule("root", lambda step, steps: 1 / jnp.sqrt(1 + step), endless=True)
    np.testing.assert_allclose(factors(schedule="root"), 1 / np.sqrt(1 + np.arange(STEPS)), rtol=1e-6)
    assert SCHEDULES["root"].endless
    tmsjax.add_schedule("half", lambda step, steps: 1 - 0.5 * step / steps, endless=True)
    with pytest.raises(SpecError, match="'half': endless = True, but factor depends on the number of steps"):
        factors(schedule="half")


BAD = {
    "text": (lambda step, steps: "1", "factor(step, steps) fails"),
    "array": (lambda step, steps: jnp.ones(2) * step, "factor gives float32[2], not a number"),
    "nothing": (lambda step, steps: None, "factor gives None, not a number"),
    "truth": (lambda step, steps: step < 3, "factor gives bool[], not a number"),
    "complex": (lambda step, steps: 1j * step, "factor gives complex64[], not a number"),
    "python if": (lambda step, steps: 1.0 if step < 3 else 0.5, "factor(step, steps) fails (TracerBoolConversionError"),
    "arguments": (lambda step: 1.0, "factor(step, steps) fails (TypeError"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_factor_is_refused(name):
    function, said = BAD[name]
    tmsjax.add_schedule("bad", function)
    with pytest.raises(SpecError) as error:
        factors(schedule="bad")
    assert f"train.schedule: 'bad': {said}" in str(error.value)


REFUSED = {
    "no function": (lambda: tmsjax.add_schedule("mine", 0.5), "factor must be a function, not 0.5"),
    "endless": (lambda: tmsjax.add_schedule("mine", print, endless=1), "endless must be True or False, not 1"),
    "built in": (lambda: tmsjax.add_schedule("cosine", print), "this name is built in"),
    "a key of the table": (
        lambda: tmsjax.add_schedule("mine", lambda s, n, batch: 1, options={"batch": tmsjax.Option("int", default=1)}),
        "option 'batch': the name is taken",
    ),
    "no optimizer": (
        lambda: tmsjax.add_optimizer("mine", optax.adam(0.1)),
        "make must be a function of the learning rate",
    ),
    "unused option": (
        lambda: tmsjax.add_optimizer("mine", lambda rate: None, options={"b1": tmsjax.Option("quantity", default=1.0)}),
        "option 'b1': none of its functions",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_entries_are_refused(name):
    add, said = REFUSED[name]
    with pytest.raises(RegistryError) as error:
        add()
    assert said in str(error.value)
