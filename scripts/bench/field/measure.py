"""Measures the models of the field: processor seconds per 1e6 samples of tmsjax, plain JAX and plain PyTorch.

Each way trains in its own process, and rounds alternate between the processes. Before that, all train for some hundred
steps, and their mean losses without noise must agree.
"""

from __future__ import annotations

import inspect
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import tmsjax
from bench.suite import circumstances, has_torch
from tmsjax.engine import Ensemble, Plan, why_arrays
from tmsjax.engine.plan import SCALAR_LIMIT
from tmsjax.errors import RunFailed
from tmsjax.models import bind
from tmsjax.runs.source import with_source
from tmsjax.spec import Spec

SPECS = Path(__file__).parent / "specs"
FEWEST = 10  # steps of a round, which are a multiple of it
STEPS = 10**6  # for which the plan is made and schedules decay
FLOATS, MODELS = 2**19, 256  # of the others: floats of the widest layer, as stay in the cache, and most models
LOSS_SAMPLES = 2**12  # of a model
SAME_LOSS = 0.1  # largest relative difference of the mean losses


@dataclass(frozen=True)
class Row:
    """A model of the field.

    Attributes:
        number: Its number in the list of the field's models.
        name: Of its spec, and of its functions in plain_jax.py and plain_torch.py.
        what: Describes it in the table.
        steps: Of training before losses are compared.
    """

    number: int
    name: str
    what: str
    steps: int = 300


ROWS = (
    Row(1, "untied", "untied, f(V W x + b), (5,2)"),
    Row(2, "hidden-identity", "frozen identity between W and W^T, (5,2)"),
    Row(2, "hidden-trained", "trained layer between W and W^T, (5,2)"),
    Row(3, "residual-mlp", "residual MLP 20-40-10, frozen embedding"),
    Row(4, "residual-mlp-100", "residual MLP 100-1000-50, frozen embedding", steps=50),
    Row(5, "hierarchy", "hierarchy, a forest of 6, (6,3)"),
    Row(6, "copula", "Gaussian copula, (5,2)"),
    Row(7, "circle", "rows of a binary data set, (10,3)"),
    Row(8, "scaled-child", "child scaled by its parent, (6,3)"),
    Row(8, "magnitudes", "Gaussian values, mean per feature, (6,3)"),
    Row(9, "fourth-power", "error to the fourth power, V ReLU(W x), (10,1)"),
    Row(10, "noisy-labels", "noisy labels, a random matrix per seed, 10-5-10"),
    Row(11, "universal-and", "universal AND, 8-16-28"),
    Row(12, "hidden-noise", "Gaussian noise on the hidden layer, (5,2)"),
    Row(13, "crosscoder", "crosscoder of two toy models, 4-8-4"),
    Row(14, "recall", "RNN, recall of two steps ago, 6 steps of 3"),
    Row(15, "exactly-k", "exactly 2 of 8 binary features, (8,3)"),
    Row(15, "signed-decay", "power-law frequencies, signed decay, warm-up, floor, rate of b, (20,5)"),
)
QUICK = tuple(row for row in ROWS if row.name in ("untied", "hidden-identity", "hierarchy"))


class Trainer(Protocol):
    """Models in training, by one of the ways."""

    def train(self, steps: int) -> None:
        """Goes on for `steps` steps."""

    def loss(self, samples: int) -> float:
        """The mean over models of the loss without noise and penalty."""


class Tmsjax:
    """The spec as its user wrote it, but for the number of steps."""

    def __init__(self, spec: Spec):
        self.ensemble = Ensemble(spec)
        self.states, self.step = self.ensemble.init(), 0

    def train(self, steps: int) -> None:
        self.step += steps
        self.states = self.ensemble.advance(self.states, self.step)

    def loss(self, samples: int) -> float:
        return float(self.ensemble.noise_free_loss(self.states).mean())


def load(row: Row, folder: Path, *overrides: str) -> Spec:
    """The row's spec, with its user's code and the data that it reads."""
    spec = tmsjax.load_spec(folder / f"{row.name}.toml", overrides, imports=True)
    return with_source(spec)


def prepare(folder: Path, rows: Sequence[Row] = ROWS) -> None:
    """Copies the specs into a folder and makes the data that they read: a data set, and two trained toy models."""
    shutil.copytree(SPECS, folder, dirs_exist_ok=True)
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)[:, None]
    apart = np.abs((angle - np.arange(10) * (2 * np.pi / 10) + np.pi) % (2 * np.pi) - np.pi)
    np.save(folder / "circle.npy", (apart < 0.6).astype(np.float32))
    for k in (0, 1) if any(row.name == "crosscoder" for row in rows) else ():
        run = tmsjax.run_sweep(folder / "toy.toml", folder / f"toy-{k}", overrides=[f"seed={k}"], progress=False)
        best = run.dataset.isel(replica=int(run.dataset["loss"].to_numpy().argmin()))
        np.save(folder / f"toy-{k}.npy", best["W"].to_numpy().astype(np.float32))


def others_models(spec: Spec) -> int:
    """How many models the others train: so many that a layer's activations stay in the cache."""
    widest = max(spec.sizes.values())
    return min(MODELS, max(1, FLOATS // (spec.train.batch * widest)))


OURS, JAX, TORCH = "tmsjax", "JAX vmap", "PyTorch"
MODULES = {JAX: "bench.field.plain_jax", TORCH: "bench.field.plain_torch"}
_held: dict[str, Any] = {}  # of a way's process: its trainer, the samples of a step and the steps of a round


def _begin(way: str, row: Row, folder: Path, seconds: float) -> dict:
    """Runs in the way's process: builds it, trains for the comparison, finds how many steps take about `seconds`."""
    spec = load(row, folder, f"train.steps={STEPS}")
    facts: dict[str, Any] = {}
    trainer: Trainer
    if way == OURS:
        trainer = ours = Tmsjax(spec)
        models = spec.instances
        facts = path_of(spec, ours.ensemble.plan)
    else:
        models = others_models(spec)
        trainer = import_module(MODULES[way]).Trainer(row.name, folder, models, spec.train.batch, STEPS)
        facts["loss_before"] = trainer.loss(LOSS_SAMPLES)
    trainer.train(row.steps)
    _held.update(trainer=trainer, samples=models * spec.train.batch, steps=FEWEST)
    facts |= {"models": models, "loss": trainer.loss(LOSS_SAMPLES)}
    while (took := _round() * _held["steps"] * _held["samples"] / 1e6) < seconds / 2:
        _held["steps"] *= min(64, max(2, round(seconds / max(took, 1e-3))))
    return facts


def _round() -> float:
    """Runs in the way's process: processor seconds per 1e6 samples."""
    trainer, steps = _held["trainer"], _held["steps"]
    start = time.process_time()
    trainer.train(steps)
    return (time.process_time() - start) / (steps * _held["samples"]) * 1e6


def path_of(spec: Spec, plan: Plan) -> dict[str, str | None]:
    """Which path models take and, if it is arrays, why."""
    problem = bind(spec)
    path = "scalars" if plan.scalars else "stages" if plan.staged else "arrays"
    size = f"{problem.weights:,} weights" if problem.weights > SCALAR_LIMIT["cpu"] else None
    reason = size or why_arrays(problem) if path == "arrays" else None
    return {"path": path, "reason": reason and reason.replace(f"{spec.folder}/", "")}


def ways() -> list[str]:
    return [OURS, JAX, TORCH] if has_torch() else [OURS, JAX]


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def run_row(row: Row, folder: Path, rounds: int, seconds: float) -> dict:
    """Measures one row. Raises RunFailed if the ways do not learn the same."""
    pools = {way: _process() for way in ways()}
    try:
        beginning = {way: pool.submit(_begin, way, row, folder, seconds) for way, pool in pools.items()}
        begun = {way: future.result() for way, future in beginning.items()}
        check_same(row, begun)
        found = [{way: pool.submit(_round).result() for way, pool in pools.items()} for _ in range(rounds)]
    finally:
        for pool in pools.values():
            pool.shutdown()
    for way, facts in begun.items():
        facts["rounds"] = [each[way] for each in found]
        facts["seconds"] = statistics.median(facts["rounds"])
    ratios = {way: facts["seconds"] / begun[OURS]["seconds"] for way, facts in begun.items() if way != OURS}
    return {"number": row.number, "name": row.name, "what": row.what, "lines": lines_of(row), "ways": begun} | {
        "ratios": ratios
    }


def check_same(row: Row, begun: dict[str, dict]) -> None:
    """Raises RunFailed unless all ways reach the same mean loss, which is below that before training."""
    ours = begun[OURS]["loss"]
    for way, facts in begun.items():
        if not abs(facts["loss"] / ours - 1) <= SAME_LOSS:
            raise RunFailed(f"{row.name}: {way} learns something else: loss {facts['loss']:.4g}, tmsjax's {ours:.4g}")
        if (before := facts.get("loss_before")) is not None and not facts["loss"] < 0.9 * before:
            raise RunFailed(f"{row.name}: {way} learns nothing: loss {before:.4g} to {facts['loss']:.4g}")


def lines_of(row: Row) -> dict[str, int]:
    """Lines that are not blank, without imports: of the spec, of the user's code, and of the other ways' functions.

    The others also share their trainer, of "JAX trainer" and "PyTorch trainer" lines.
    """
    code = SPECS / f"{row.name.replace('-', '_')}.py"
    lines = {"spec": _count((SPECS / f"{row.name}.toml").read_text())}
    lines["code"] = _count(code.read_text()) if code.exists() else 0
    for way in ways()[1:]:
        module = import_module(MODULES[way])
        lines[way] = _count(inspect.getsource(module.MODELS[row.name]))
        lines[f"{way} trainer"] = _count(inspect.getsource(module.Trainer))
    return lines


def _count(source: str) -> int:
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and not line.startswith(("import ", "from ", "#")) for line in lines)


def table(rows: Sequence[dict]) -> str:
    """The result in Markdown."""
    head = ["", "model", "lines: code + spec", OURS, JAX, TORCH, "path"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        found = row["ways"]
        cells = [str(row["number"]), row["what"], f"{row['lines']['code']} + {row['lines']['spec']}"]
        cells.append(_short(found[OURS]["seconds"]))
        for way in MODULES:
            cells.append(f"{_short(found[way]['seconds'])} ({_short(row['ratios'][way])} x)" if way in found else "")
        reason = found[OURS]["reason"]
        cells.append(found[OURS]["path"] + (f": {reason}" if reason else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(number: float) -> str:
    """Two digits, without an exponent."""
    return f"{float(f'{number:.2g}'):g}"


def run_table(rows: Sequence[Row], folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> dict:
    """Measures rows: prints each when it is done, and returns what `--json` writes."""
    began = time.monotonic()
    prepare(folder, rows)
    results = []
    for row in rows:
        results.append(run_row(row, folder, rounds, seconds))
        say(table(results[-1:]).splitlines()[-1])
    return circumstances() | {"rounds": rounds, "seconds": time.monotonic() - began, "rows": results}
