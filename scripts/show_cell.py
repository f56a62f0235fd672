"""Restore a run's checkpoint and show the models of one cell.

    python scripts/show_cell.py RUN feature_probability=0.2 extra_importance=1 [--step 6000] [--figure cell.png]

Prints the parameters of every replica from the checkpoint, and its final noise-free loss. `--figure` draws the final
models.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import tmsjax
from tmsjax.terminal import guarded


def main(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    cell: Annotated[list[str], typer.Argument(help="axis=value for each axis except replica; takes the nearest.")],
    step: Annotated[int | None, typer.Option(help="Step of the checkpoint; the newest by default.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the cell's models to this PNG (and SVG).")] = None,
) -> None:
    opened = tmsjax.open_run(run)
    spec, dataset = opened.spec, opened.dataset
    wanted = {}
    for text in cell:
        name, _, value = text.partition("=")
        try:
            wanted[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not axis=number") from None
    axes = [a for a in spec.axis if a != "replica"]
    if set(wanted) != set(axes):
        raise typer.BadParameter(f"give each of: {', '.join(axes)}")
    arrays = opened.restore(step)
    index = tuple(
        int(np.abs(dataset[a].to_numpy() - wanted[a]).argmin()) if a in wanted else slice(None) for a in spec.axis
    )
    rows = np.arange(spec.instances).reshape(spec.shape)[index].reshape(-1)
    losses = dataset["loss"].to_numpy().reshape(-1)[rows]
    where = ", ".join(f"{a} = {float(dataset[a][k]):.4g}" for a, k in zip(spec.axis, index, strict=True) if a in wanted)
    typer.echo(f"{where}: {len(rows)} models, by final noise-free loss")
    for k in np.argsort(losses):
        params = {name.removeprefix("state.params."): v[rows[k]] for name, v in arrays.items() if "params." in name}
        text = "  ".join(f"{name} {np.array2string(v, precision=4)}" for name, v in params.items())
        typer.echo(f"  replica {k}  loss {losses[k]:.6g}  {text}")
    if figure is not None:
        for path in tmsjax.plots.save(tmsjax.plots.models(dataset, wanted), figure):
            typer.echo(str(path))


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
