"""Facts about sweeps on GPUs and TPUs that are not here: compiles each sweep for each chip and prints a table.

    pip install -e ".[aot-cuda,aot-tpu]"
    python scripts/device_table.py                       prints the table of all sweeps below, for H100, A100 and v5e
    python scripts/device_table.py --write               also writes docs/devices.json
    python scripts/device_table.py SPEC ... --chips h100,v6e

Memory, kernels, bytes, registers and spills are the compilers'; instructions are counted in PTX, times are arithmetic
(tmsjax/engine/forecast.py).
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import jax

from tmsjax.engine import LAUNCH_SECONDS, READ_SECONDS, Forecast, forecast
from tmsjax.errors import SpecError
from tmsjax.spec import load_spec

ROOT = Path(__file__).parents[1]
SWEEPS = (  # file and settings
    "one_neuron_relu",
    "one_neuron_linear",
    "ratios",
    "three_features",
    "intro",
    "intro axes.replica.count=12800",
    "basic_relu_20_5",
    "geometry",
    "own_models",
    "one_neuron_billion",
)
CHIPS = ("h100", "a100", "v5e")
COLUMNS = {
    "sweep": "{sweep}",
    "chip": "{chip}",
    "kernel": "{kernel}",
    "unit MB": "{unit_megabytes:,.0f}",
    "launches/step": "{launches:,.0f}",
    "MB/step": "{step_megabytes:,.1f}",
    "state MB": "{state_megabytes:,.1f}",
    "instr/sample": "{instructions_per_sample:,.0f}",
    "regs": "{registers}",
    "spills": "{spills}",
    "products": "{products:.0%}",
    "ms/step": "{milliseconds:.3g}",
    "by": "{bound}",
    "run s": "{run_seconds:,.3g}",
}


def facts(sweep: str, chip: str, kernel: str) -> dict | None:
    """One row of the table: plain numbers and words. None if the kernel cannot train the sweep on the chip."""
    file, *settings = sweep.split()
    path = Path(file) if file.endswith(".toml") else ROOT / "sweeps" / f"{file}.toml"
    spec = load_spec(path, [*settings, f"engine.kernel='{kernel}'"], imports=True)
    try:
        found = forecast(spec, chip)
    except SpecError:
        return None
    return {
        "sweep": sweep,
        "chip": chip,
        "kernel": kernel,
        "plan": asdict(found.plan) | {"units": found.units, "steps": found.steps},
        "memory_bytes": {key: asdict(memory) for key, memory in found.memory.items()},
        "unit_bytes": found.unit_bytes,
        "chip_bytes": found.chip.memory,
        "fits": found.fits,
        "launches": found.launched,
        "launches_by_depth": [asdict(group) for group in found.launches],
        "copies": found.copies,
        "reads_by_host": found.reads,
        "bytes": found.bytes,
        "state_bytes": found.state_bytes,
        "instructions_per_sample": found.instructions / found.samples,
        "registers": found.registers,
        "spills": found.spills,
        "products": found.products / found.serial if found.serial else 0.0,
        "cycles": found.cycles,
        "seconds": found.seconds,
        "bound": found.bound,
        "run_seconds": found.run_seconds,
        "clean": clean(found),
    }


def clean(found: Forecast) -> bool:
    """Whether no program calls Python, talks to other devices or uses float64."""
    return not (found.callbacks or found.collectives or "f64" in found.dtypes)


def row(fact: dict) -> list[str]:
    """The cells of a fact in the table."""
    shown = fact | {
        "unit_megabytes": fact["unit_bytes"] / 1e6,
        "step_megabytes": fact["bytes"] / 1e6,
        "state_megabytes": fact["state_bytes"] / 1e6,
        "milliseconds": 1e3 * fact["seconds"][fact["bound"]],
    }
    return [cell.format(**shown) for cell in COLUMNS.values()]


def table(rows: list[list[str]]) -> str:
    """Rows with a head, as aligned text."""
    rows = [list(COLUMNS), *rows]
    widths = [max(len(cells[k]) for cells in rows) for k in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", metavar="SPEC")
    parser.add_argument("--chips", default=",".join(CHIPS), help="such as h100,v5e")
    parser.add_argument("--write", action="store_true", help="write docs/devices.json")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # do not look for this machine's devices
    chips = options.chips.split(",")
    cases = [(s, chip, k) for s in options.sweeps or SWEEPS for chip in chips for k in ("xla", "pallas")]
    found = [fact for case in cases if (fact := facts(*case)) is not None]
    print(table([row(fact) for fact in found]))
    if options.write:
        assumed = {"launch_seconds": LAUNCH_SECONDS, "read_seconds": READ_SECONDS}
        text = json.dumps({"jax": jax.__version__, "assumed": assumed, "facts": found}, indent=1)
        (ROOT / "docs" / "devices.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
