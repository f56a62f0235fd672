"""Compares a run with theory: computes and stores the exact map, reports agreement as JSON and Markdown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.analysis.agreement import Agreement
from tmsjax.analysis.stream import axes_only, cell_store, is_divided, parts, stored_unit
from tmsjax.errors import RunError, Unreadable
from tmsjax.kinds import ACTIVATIONS, ACTIVITIES, FAMILIES, LOSSES, REPLICA, VALUES, Fixed
from tmsjax.runs import Run, Store, as_run, check_writable, reach, read_dataset, write_dataset, write_json, write_text

MOST_FEATURES = 3  # of models that theory.exact_optimum supports
CERTIFICATE = ("starts", "checked", "check_starts", "improved", "largest_improvement")  # of theory.Optimum


def theory_phases(dataset: xr.Dataset, exact: xr.Dataset | None) -> dict[str, np.ndarray]:
    """The phases that each applicable theory predicts for a run, by the theory's name.

    "candidate": the best of the paper's candidate solutions, for ReLU models with m = n - 1. "exact": the exact
    optimum, for linear models and otherwise from `exact`, if given.
    """
    spec = phases.spec_of(dataset)
    stored = {} if exact is None else {"exact": exact["phase"].to_numpy()}
    family, activation = FAMILIES.get(spec.model.family), ACTIVATIONS.get(spec.model.activation)
    values, activity = VALUES.get(spec.data.values), ACTIVITIES.get(spec.data.activity)
    loss = LOSSES.get(spec.loss.kind)
    if loss is None or not loss.square or not spec.data.plain:
        return stored
    if family is None or activation is None or values is None or activity is None:  # of a stored run, unknown here
        return stored
    if not (family.gram_only and family.bias and activity.own and phases.same_inputs(dataset)):
        return stored
    if spec.exact_loss == "linear":
        return {"exact": phases.linear_phases(dataset)} if phases.same_variances(dataset) else {}
    if activation.exact == "relu" and values.least is not None and 1 <= spec.model.hidden == spec.model.features - 1:
        return {"candidate": phases.candidate_phases(dataset)} | stored
    return stored


def exact_map(dataset: xr.Dataset) -> xr.Dataset | None:
    """The exact optimum of every cell: phase, W, b, loss, gradient norm, and the loss of the second-best minimum.

    The last is NaN if only one minimum was found. None if no exact theory is known; ReLU models with 2 or 3 features
    and uniform values have one, unless an option of their activity is swept.
    """
    spec = phases.spec_of(dataset)
    if spec.exact_loss != "relu" or spec.model.features > MOST_FEATURES or not phases.same_inputs(dataset):
        return None
    options = spec.data.activity_options
    if not all(isinstance(value, (int, float, Fixed)) for value in options.values()):
        return None
    from tmsjax.theory import exact_optimum

    importance, probability = phases.cell_inputs(dataset)
    shape, n = importance.shape[:-1], importance.shape[-1]
    best = exact_optimum(
        importance.reshape(-1, n),
        probability.reshape(-1, n),
        hidden=spec.model.hidden,
        activity=spec.data.activity,
        bias=FAMILIES[spec.model.family].bias,
        **options,
    )
    dims = [str(d) for d in dataset["loss"].dims if d != REPLICA]
    W = best.W.reshape(*shape, *best.W.shape[1:])
    per_cell = {name: getattr(best, name) for name in ("loss", "gradient", "second_loss")}
    return xr.Dataset(
        {
            "phase": (dims, phases.phases_of(W, phases.layout(spec))),
            "W": ([*dims, "hidden", "feature"], W),
            "b": ([*dims, "feature"], best.b.reshape(*shape, n)),
            **{name: (dims, values.reshape(shape)) for name, values in per_cell.items()},
        },
        {d: dataset[d] for d in dims},
        {"spec": dataset.attrs["spec"]} | {name: getattr(best, name) for name in CERTIFICATE},
    )


def compare_run(run: Run | str | Path, select: str = "best") -> dict:
    """Compares a run with every theory that applies; see `analysis.Agreement.result` for the dict that it returns.

    `run`: a Run or the path of its directory. `select`: the rule that selects among replicas, as in `phase_map`. Works
    unit by unit. Also writes the exact optima (reused by later calls), comparison.json and report.md into the run's
    directory, if any. Raises ValueError for an unknown rule, RunError before any work if the directory cannot be
    written.

    Examples:
        >>> result = tmsjax.compare(run)
        >>> result["cells"], result["phases"]
        (9, ['none', 'first only', 'second only', 'superposition'])
    """
    run = as_run(run)
    phases.check_selection(select)
    if run.directory is not None:
        check_writable(run.directory.path)
    compared = Agreement(select, axes_only(run), run.cells)
    for unit, part in parts(run, "compare"):
        trained = phases.phase_map(part, select)
        exact = _exact_of(run, unit, part)
        compared.add(unit, trained, theory_phases(part, exact), exact)
    result = compared.result()
    if run.directory is not None:
        write_json(run.directory.path / "comparison.json", result)
        text = report(run, result)
        write_text(run.directory.path / "report.md", text)
    return result


def _exact_of(run: Run, unit: int, part: xr.Dataset) -> xr.Dataset | None:
    """The exact optima of a unit: stored ones, or computed and stored."""
    if (stored := stored_optima(run, unit)) is not None:
        return stored
    exact = exact_map(part)
    if exact is not None and run.directory is not None:
        if is_divided(run):
            theory_store(run).write(unit, exact.assign(W=exact["W"].astype("f4"), b=exact["b"].astype("f4")))
        else:
            write_dataset(run.directory.path / "theory.nc", exact)
    return exact


def stored_optima(run: Run, unit: int) -> xr.Dataset | None:
    """The stored exact optima of a unit; None if they are missing, damaged or from another spec. Raises Unreadable."""
    if run.directory is None:
        return None
    if is_divided(run):
        return stored_unit(theory_store(run), unit)
    path = run.directory.path / "theory.nc"
    try:
        with reach(path):
            stored = read_dataset(path) if path.exists() else None
    except Unreadable:
        raise
    except RunError:  # damaged, but it can be computed again
        stored = None
    return stored if stored is not None and stored.attrs["spec"] == run.dataset.attrs["spec"] else None


def stored_exact_map(run: Run) -> xr.Dataset | None:
    """The stored exact map of the whole run; None if some of it is missing, damaged or from another spec.

    Raises Unreadable. For a run of several units, values are read when they are needed.
    """
    if run.directory is None or not is_divided(run):
        return stored_optima(run, 0)
    try:
        return theory_store(run).open()
    except Unreadable:
        raise
    except RunError:
        return None


def theory_store(run: Run) -> Store:
    """The exact optima of a run of several units: RUN/theory/, with W and b of 4 bytes a number."""
    return cell_store(run, "theory", "`tmsjax compare` makes it again")


def report(run: Run, result: dict) -> str:
    """A short report of a comparison in Markdown; `result` is from `compare_run`."""
    spec = run.spec
    facts = run.directory.info() if run.directory else None
    axes = " x ".join(f"{len(a)} {a.name}" for a in spec.axes)
    lines = [
        f"# {spec.name}",
        "",
        f"{spec.instances:,} models ({axes}), {spec.train.steps} steps of {spec.train.optimizer}.",
    ]
    if facts is not None:
        seconds = facts.seconds_of_training
        samples = spec.instances * spec.train.steps * (spec.train.batch if spec.train.loss == "sampled" else 1)
        unit = "samples" if spec.train.loss == "sampled" else "model-steps"
        lines.append(f"Trained in {seconds:.1f} s on {facts.device}: {samples / max(seconds, 1e-9):.2e} {unit}/s.")
    lines += [
        "",
        f"Selection: {result['select']}. Cells: {result['cells']:,}, masked: {result['masked_cells']}.",
    ]
    lines.append(
        f"Diverged models: {result['diverged_models']}. Inits within 1 % of their cell's best loss: "
        f"{result['mean_success']:.1%} on average."
    )
    counts = ", ".join(f"{n} {c:,}" for n, c in zip(result["phases"], result["trained_cells"], strict=True))
    lines += ["", f"Trained phases: {counts}."]
    for name in ("candidate", "exact"):
        if name in result:
            lines += ["", f"## {name.capitalize()} theory", "", *_theory_lines(result, result[name])]
    if "exact" not in result:
        rest = "" if "candidate" in result else " Nothing was compared."
        lines += ["", f"No exact theory is known for this model.{rest}"]
    return "\n".join(lines) + "\n"


def _theory_lines(result: dict, part: dict) -> list[str]:
    names = result["phases"]
    lines = [f"Cells that agree: {part['agreement']:.2%}." if part["agreement"] is not None else "No usable cells."]
    distance = part["boundary_distance"]
    if distance:
        cell = " x ".join(f"{c:.4f}" for c in distance["cell"])
        there, back = distance["theory_to_trained"], distance["trained_to_theory"]
        lines.append(
            f"Distance between phase boundaries in {distance['units']} (a cell is {cell}): from theory to "
            f"trained, mean {there['mean']:.4f}, maximum {there['maximum']:.4f}; from trained to theory, mean "
            f"{back['mean']:.4f}, maximum {back['maximum']:.4f} (which includes isolated wrong cells)."
        )
        if "thinned" in distance:
            lines.append(f"These distances are of one in {distance['thinned']} points of the boundaries.")
    if "loss_ratio_quantiles" in part:
        q = part["loss_ratio_quantiles"]
        lines.append(
            f"Trained loss over the exact minimum: smallest {q['0.0']:.6f}, median {q['0.5']:.4f}, "
            f"99 % below {q['0.99']:.4f}, largest {q['1.0']:.4f}."
        )
        if "loss_ratio_error" in part:
            lines.append(
                f"Median and 99 % are of a histogram: their relative error is at most {part['loss_ratio_error']:.0e}."
            )
    if "starts" in part:
        lines.append(
            f"Exact minima: best of {part['starts']} starts per cell or lattice node; "
            f"largest remaining gradient {part['largest_gradient']:.1e}."
        )
    if part.get("checked"):
        lines.append(
            f"Solved again from {part['check_starts']} random starts: {part['checked']:,} cells; the loss fell in "
            f"{part['improved']:,}, by a relative {part['largest_improvement']:.1e} at most."
        )
    lines += ["", "| theory \\ trained | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {n} | " + " | ".join(f"{v:,}" for v in row) + " |" for n, row in zip(names, part["confusion"], strict=True)
    ]
    return lines
