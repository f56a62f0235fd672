"""Small training budgets for the one-neuron phase map: agreement with exact theory, and training time per model.

    python scripts/smallest_budget.py [--cells 150] [--seeds 3]

Each row changes sweeps/one_neuron_billion.toml. Agreement: share of the cells with the phase of the exact optimum, for
the best of the first 2, 4 and 10 replicas, mean over seeds. Loss: 90 and 99 % quantiles of the best replica's loss over
the exact minimum. Time: training alone, everything compiled, the least of all seeds. Writes Markdown to stdout.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import tmsjax
from tmsjax import analysis
from tmsjax.terminal import guarded

SPEC = Path(__file__).parents[1] / "sweeps" / "one_neuron_billion.toml"
COUNTS = (2, 4, 10)
ADAM = ["train.optimizer=adam", "train.streams=independent", "train.batch=4", "train.schedule=cosine"]
EXACT = ["train.loss=exact", "train.streams=independent"]
SETTINGS = {
    "Adam, 256 steps of 4, rate 0.03, random signs": [
        *ADAM, "train.steps=256", "train.learning_rate=0.03", "init.signs=random", "instance.init_scale=0.8",
    ],
    "Adam, 256 steps of 4, rate 0.05": [*ADAM, "train.steps=256", "train.learning_rate=0.05"],
    "RMSProp, 24 steps of 16 Sobol' points": ["train.steps=24"],
    "RMSProp, 32 steps of 16 Sobol' points": ["train.steps=32"],
    "RMSProp, 48 steps of 16 Sobol' points": ["train.steps=48"],
    "RMSProp, 48 steps of 16 independent points": ["train.steps=48", "train.streams=independent"],
    "RMSProp, 96 steps of 16 Sobol' points": ["train.steps=96"],
    "RMSProp, 24 steps on the exact loss": [*EXACT, "train.steps=24"],
    "RMSProp, 48 steps on the exact loss": [*EXACT, "train.steps=48"],
}  # fmt: skip


def row(folder: Path, changes: list[str], seeds: int, exact: np.ndarray, least: np.ndarray) -> str:
    """The numbers of one setting; its runs go into `folder`."""
    shares, ratios, seconds = [], [], []
    for seed in range(seeds):
        run = tmsjax.run_sweep(SPEC, folder / str(seed), overrides=[*changes, f"seed={seed}"], progress=False)
        assert run.directory is not None
        shares.append(analysis.agreement_by_count(run.dataset, exact, "best", COUNTS))
        ratios.append((tmsjax.phase_map(run)["loss"].to_numpy() / least).reshape(-1))
        seconds.append(run.directory.info()["seconds_of_training"] / run.spec.instances)
    high = np.quantile(np.concatenate(ratios), [0.9, 0.99])
    cells = [f"{share:.2%}" for share in np.mean(shares, axis=0)] + [f"{value:.3g}" for value in high]
    return " | ".join([*cells, f"{1e6 * min(seconds):.2f}"])


def main(
    cells: Annotated[int, typer.Option(min=2, help="Cells along each axis.")] = 150,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting.")] = 3,
) -> None:
    sizes = [f"axes.{axis}.count={cells}" for axis in ("feature_probability", "extra_importance")]
    sizes.append("store.keep=results")
    optimum = analysis.exact_map(tmsjax.run_sweep(SPEC, overrides=[*sizes, "train.steps=1"], progress=False).dataset)
    assert optimum is not None
    exact, least = optimum["phase"].to_numpy(), optimum["loss"].to_numpy()
    print("| setting | 2 replicas | 4 | 10 | loss, 90 % | 99 % | microseconds a model |")
    print("|---|---|---|---|---|---|---|")
    for name, changes in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {name} | {row(Path(folder), [*sizes, *changes], seeds, exact, least)} |", flush=True)


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
