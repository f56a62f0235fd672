"""Compiles sweeps for GPUs and TPUs that are not here. Needs the wheels of the extras aot-cuda and aot-tpu.

Run by `bash scripts/test.sh --devices`.
"""

import pytest
from conftest import ROOT, plain_spec

from tmsjax.engine import Forecast, forecast
from tmsjax.spec import load_spec

pytestmark = pytest.mark.devices
SWEEPS = (
    "one_neuron_relu",
    "three_features",
    "intro",
    "basic_relu_20_5",
    "geometry",
    "one_neuron_linear",
    "own_models",
)
EXACT = plain_spec(2, 1, instances=4096, train={"steps": 30, "loss": "exact"})


@pytest.fixture(scope="module")
def compiled():
    """(sweep, chip) -> its forecast, compiled once."""
    kept: dict[tuple[str, str], Forecast] = {}

    def of(sweep: str, chip: str) -> Forecast:
        if (sweep, chip) not in kept:
            source = EXACT if sweep == "exact" else ROOT / "sweeps" / f"{sweep}.toml"
            kept[sweep, chip] = forecast(load_spec(source, imports=True), chip)
        return kept[sweep, chip]

    return of


@pytest.mark.parametrize("chip", ["h100", "v5e"])
@pytest.mark.parametrize("sweep", [*SWEEPS, "exact"])
def test_a_sweep_compiles_to_programs_that_stay_on_the_chip(compiled, sweep, chip):
    facts = compiled(sweep, chip)
    assert facts.fits
    assert not facts.callbacks
    assert not facts.collectives
    pairs = {"c64"} if facts.plan.unroll > 1 else set()  # of float32 (engine/lanes.py)
    assert facts.dtypes <= {"f32", "s32", "u32", "u8", "s8", "pred", "bf16", "f16", "token"} | pairs
    assert facts.spills == 0
    assert facts.uncounted == 0
    assert 0 < facts.unit_bytes < facts.chip.memory
    assert facts.launched > 0
    assert facts.run_seconds > 0


@pytest.mark.parametrize("chip", ["a100", "h200", "v6e"])
def test_the_other_chips_have_a_compiler_too(compiled, chip):
    facts = compiled("one_neuron_relu", chip)
    assert facts.fits
    assert facts.chip.title.removeprefix("NVIDIA ").removeprefix("TPU ").lower().startswith(chip)


def test_gpus_differ_in_rates_more_than_in_programs(compiled):
    h100, h200 = compiled("one_neuron_relu", "h100"), compiled("one_neuron_relu", "h200")
    assert h200.bytes == pytest.approx(h100.bytes, rel=0.1)
    assert h200.seconds["memory"] < 0.8 * h100.seconds["memory"]


def test_a_step_moves_at_least_its_state(compiled):
    facts = compiled("one_neuron_relu", "h100")
    assert facts.bytes > 2 * facts.state_bytes
    assert facts.memory["step"].held > facts.state_bytes
    assert 20 < facts.instructions / facts.samples < 500


@pytest.mark.parametrize("sweep", ["one_neuron_relu", "three_features", "intro", "own_models"])
def test_our_kernel_keeps_many_steps_in_registers(compiled, sweep):
    source = ROOT / "sweeps" / f"{sweep}.toml"
    facts = forecast(load_spec(source, ["engine.kernel='pallas'"], imports=True), "h100")
    assert facts.spills == 0
    assert facts.launched < 0.6, "one kernel, and a few small ones, for 256 steps"
    assert facts.bytes < 0.2 * compiled(sweep, "h100").bytes
    assert facts.dtypes <= {"f32", "s32", "u32", "u8", "s8", "pred"}


def test_a_step_of_the_flagship_is_three_kernels_and_a_counter(compiled):
    facts = compiled("one_neuron_relu", "h100")
    step = next(group for group in facts.launches if group.turns == 1)
    assert (step.kernels, step.single) == (4, 1)
    assert facts.reads < 0.1
    assert facts.bytes < 2.1 * 2 * facts.state_bytes
    assert facts.run_seconds < 1
