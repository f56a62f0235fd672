"""The `tmsjax` command line. Subcommands import heavy modules when they run."""

from __future__ import annotations

import time
import warnings
import webbrowser
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tmsjax.errors import Diverged
from tmsjax.examples import examples
from tmsjax.kinds import STUDIES, suited
from tmsjax.printing import safe_output, say
from tmsjax.spec import SELECTIONS, description
from tmsjax.terminal import (
    Commands,
    check_known,
    common,
    guarded,
    show_warning,
    warn_of_unused_gpu,
    without_lines,
)

if TYPE_CHECKING:
    from tmsjax.kinds import Imported
    from tmsjax.runs import Run
    from tmsjax.spec import Spec

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A sweep's TOML file.")]
RunPath = Annotated[str, typer.Argument(metavar="RUN", help="A run's directory, or its URL in an object store.")]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="The run's directory, or the URL of an object store; by default runs/NAME-HASH."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as train.steps=2000.")
]
Join = Annotated[
    bool, typer.Option("--join", help="Train beside other processes that do the same, until the run is complete.")
]
Gone = Annotated[str | None, typer.Option(hidden=True)]  # options of earlier versions
Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Train units on the workers of this Dask scheduler, tcp://HOST:8786."),
]
SELECT = f"How to select among the replicas of a cell: {', '.join(SELECTIONS)} (the first that did not diverge)."
Select = Annotated[str, typer.Option(help=SELECT)]
Part = Annotated[
    list[str] | None,
    typer.Option(metavar="AXIS=LOW:HIGH", help="Show only this part of a map. May be given for several axes."),
]
KINDS = ". ".join(f"{name}: {study.sentence}" for name, study in STUDIES.items())

NO_DRIVER = ("absl::InitializeLog", "Could not find cuda drivers")  # logged by jax's plugin for a GPU, where none is


@app.command()
def run(
    spec: SpecFile,
    out: Out = None,
    set_: Set = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename an existing run and start a new one.")] = False,
    join: Join = False,
    dask: Dask = None,
    workers: Gone = None,
    units: Gone = None,
) -> None:
    """Train every model of a sweep. Resumes an unfinished run; does nothing if the run is complete."""
    from tmsjax.runs import RunDirectory, check_options, set_aside
    from tmsjax.spec import load_spec

    check_options(join, dask, {"--workers": workers, "--units": units})
    loaded = load_spec(spec, set_ or [])
    if loaded.imports:
        from tmsjax.runs import with_imports

        there = RunDirectory(out) if out is not None and not fresh else None
        loaded = with_imports(loaded, spec, set_ or [], there, _tell_import)
    directory = out or f"runs/{loaded.name}-{loaded.hash[:8]}"
    client = _connected(dask)
    if fresh and (aside := set_aside(directory)) is not None:
        say(f"set aside: {aside}")
    _train(loaded, directory, join, client)


@app.command()
def resume(
    run: RunPath,
    set_: Set = None,
    join: Join = False,
    dask: Dask = None,
    workers: Gone = None,
    units: Gone = None,
) -> None:
    """Resume a run from its newest checkpoint.

    A run can be extended: with more values of an axis, --set axes.replica.count=N; under a constant schedule with more
    steps, --set train.steps=N.
    """
    from tmsjax.runs import RunDirectory, check_options, with_imports

    check_options(join, dask, {"--workers": workers, "--units": units})
    client = _connected(dask)
    directory = RunDirectory(run)
    if directory.exists():
        directory.create()
        with directory.lock(join or client is not None), directory.begin_lock():
            directory.repair()
    stored = directory.spec()
    _train(with_imports(stored, stored, set_ or [], directory, _tell_import), run, join, client)


@app.command("finish")
def finish_(run: RunPath) -> None:
    """Make results of an interrupted run's newest checkpoints. The run can still be resumed."""
    from tmsjax.runs import RunDirectory, finish

    say(finish(RunDirectory(run)))
    say(f"next: tmsjax map, compare or plot {run}; to go on: tmsjax resume {run}")


@app.command("map")
def map_(run: RunPath, select: Select = "best") -> None:
    """Aggregate replicas into a phase map: writes RUN/phase_map-SELECT.nc and prints a table of phases.

    For a run of several units, the map is a folder with a file for each unit; a second call makes what is missing.
    """
    from tmsjax.analysis import write_phase_map
    from tmsjax.runs import open_run

    _check_select(select)
    path, counts = write_phase_map(open_run(run), select)
    say("\n".join(counts.table()))
    say(str(path))


@app.command()
def compare(run: RunPath, select: Select = "best") -> None:
    """Compare a run with candidate and exact theory: writes RUN/comparison.json and RUN/report.md."""
    _check_select(select)
    from tmsjax import analysis
    from tmsjax.runs import as_path

    analysis.compare(run, select)
    say((as_path(run) / "report.md").read_text(encoding="utf-8").rstrip("\n"))


@app.command()
def plot(
    run: RunPath,
    select: Select = "best",
    kind: Annotated[
        str | None, typer.Option(help=f"{KINDS}. Default: the spec's kind, otherwise all kinds that suit the sweep.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(metavar="RUN", help="gram only: a run whose first model is drawn before the others.")
    ] = None,
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="FILE", help="Execute a file that adds kinds of figures.")
    ] = None,
    region: Part = None,
) -> None:
    """Draw the figures of a run into RUN/figures. Run `tmsjax compare` first to include theory's boundaries."""
    _check_select(select)
    from tmsjax import plots
    from tmsjax.analysis import read_region
    from tmsjax.kinds import REGISTRIES, execute, located
    from tmsjax.runs import as_path, check_writable, open_run

    execute(located(imports or [], str(Path.cwd())), REGISTRIES)
    if kind is not None:
        check_known("--kind", kind, STUDIES)
    part, opened = read_region(region) if region else None, open_run(run)
    check_writable(as_path(run) / "figures")
    for name, figure in plots.figures(opened, kind=kind, select=select, beside=beside, region=part).items():
        for path in plots.save(figure, as_path(run) / "figures" / name):
            say(str(path))


@app.command()
def explore(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page's file; by default RUN/explorer.html.")
    ] = None,
    select: Select = "best",
    region: Part = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write one self-contained HTML page on which one clicks a cell of the run and sees its models.

    Run `tmsjax compare` first to include exact optima. Above 1,000,000 cells, the page shows pixels of several cells.
    """
    _check_select(select)
    from tmsjax import explorer
    from tmsjax.analysis import read_region
    from tmsjax.runs import as_path, check_writable, open_run

    path = out or as_path(run) / f"explorer{'-region' if region else ''}.html"
    opened = open_run(run)
    check_writable(as_path(path), "--out FILE writes elsewhere")
    page = explorer.explore(opened, select=select, region=read_region(region) if region else None)
    path = page.save(path)
    say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    if open_ and not webbrowser.open(path.resolve().as_uri()):
        say("warning: found no browser to open it with", err=True)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="SPEC|RUN", help="A TOML file or a run's directory.")],
    set_: Set = None,
    imports: Annotated[bool, typer.Option("--imports", help="Execute the files that the spec imports.")] = False,
    device: Annotated[
        str | None,
        typer.Option(metavar="CHIP", help="Compile for a chip that is not here: h100, h200, a100, v5e or v6e."),
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Time other blocks and microbatches; print the fastest as an [engine] table.")
    ] = False,
) -> None:
    """Describe a sweep, with its memory and training time on this machine, or describe a run.

    With --device: its memory on another chip, which is not needed for it. With --tune: the plan that is fastest here.
    """
    from tmsjax.errors import SpecError
    from tmsjax.spec import load_spec

    if device is not None and tune:
        raise SpecError("--device, --tune", [("", "choose one of them")])
    if device is not None:
        with without_lines(*NO_DRIVER):
            _fit(device, path, set_ or [], imports)
        return
    if tune:
        _tune(_described("--tune", path, set_ or [], imports))
        return
    if path.is_dir():
        from tmsjax.runs import open_run, summary

        _tell(summary(open_run(path)))
        return
    loaded = load_spec(path, set_ or [], imports=imports)
    if loaded.imports and not imports:
        _tell(description(loaded))
        say("not executed: its imports; figures, memory and timing need --imports")
        return
    from tmsjax.runs import estimate

    figures = {} if loaded.study.kind else {"figures": ", ".join(suited(loaded))}
    _tell(description(loaded) | figures | estimate(loaded))


@app.command()
def kinds() -> None:
    """List what a spec can name: activations, values, activities, families, measures, studies and more."""
    from tmsjax.kinds import REGISTRIES

    for key, registry in REGISTRIES.items():
        say(key)
        for name, entry in registry.items():
            say(f"  {name:24s} {entry.sentence}")
            for option, rule in getattr(entry, "options", {}).items():
                default = "required" if rule.default is None else f"default {rule.default:g}"
                default = "optional" if rule.optional else default
                say(f"  {'':24s} {key.partition('.')[0]}.{option}: {rule.sentence} ({default})")


app.callback()(common)
app.command()(examples)


def _described(option: str, path: Path, set_: list[str], imports: bool) -> Spec:
    """The spec in a file, for an option that describes no run."""
    from tmsjax.errors import SpecError
    from tmsjax.spec import load_spec

    if path.is_dir():
        raise SpecError(option, [("", "describes a SPEC, not a run")])
    spec = load_spec(path, set_, imports=imports)
    if spec.imports and not imports:
        raise SpecError(option, [("", f"needs --imports to execute {', '.join(spec.imports)}")])
    return spec


def _fit(device: str, path: Path, set_: list[str], imports: bool) -> None:
    """Describes a sweep on a chip that is not here."""
    import jax

    from tmsjax.runs import estimate_for

    jax.config.update("jax_platforms", "cpu")  # do not look for this machine's devices
    spec = _described("--device", path, set_, imports)
    _tell(description(spec) | estimate_for(spec, device))


def _tune(spec: Spec) -> None:
    """Prints the fastest [engine] table, and on standard error what was tried."""
    import jax

    from tmsjax.engine import device_line, keep_programs
    from tmsjax.runs import tune

    say(f"device: {device_line(jax.devices())}", err=True)
    keep_programs()
    say(tune(spec, partial(say, err=True)))


def _tell_import(file: Imported) -> None:
    """Prints a line about a file before it is executed."""
    say(f"imports {file.path} (sha256 {file.sha256[:8]})")


def _connected(dask: str | None) -> Any:
    """A client of the Dask scheduler at this address, before anything is written; None for None."""
    if dask is None:
        return None
    import logging

    from tmsjax.runs import connect

    client = connect(dask)
    for name in ("distributed", "distributed.client"):  # their tracebacks of lost connections
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return client


def _train(spec: Spec, directory: str, join: bool, client: Any) -> None:
    import jax

    from tmsjax.engine import device_line, keep_programs
    from tmsjax.errors import Interrupted
    from tmsjax.runs import progress_bar, run_sweep, stopping

    if client is None:
        say(f"device: {device_line(jax.devices())}")
    else:
        say(f"training on {client.scheduler.address}")
        jax.config.update("jax_platforms", "cpu")  # the devices are the workers'
    keep_programs()
    warn_of_unused_gpu(jax.default_backend())
    began = time.monotonic()
    with stopping(command=True) as stop, progress_bar(spec, plain=True) as listen:
        try:
            how = {"join": join, "client": client}
            trained = run_sweep(spec, directory, progress=False, listen=listen, should_stop=stop, **how)
        except Interrupted as reason:
            say(f"{reason}; to continue: tmsjax resume {directory}{' --join' if join else ''}", err=True)
            raise typer.Exit(128 + (stop.signal or 0)) from None
    say(_summary(trained, time.monotonic() - began))
    say(str(directory))


def _summary(run: Run, seconds: float) -> str:
    """What a command has trained in `seconds`."""
    assert run.directory is not None
    facts = run.directory.info()
    if not run.trained:
        return "this run is complete; nothing to do"
    share = "" if run.trained == len(run.units) else f"{run.trained} of {len(run.units)} units here; "
    return (
        f"trained {facts.models:,} models in {facts.seconds_of_training:.1f} s "
        f"({share}{seconds:.1f} s with compiling and saving; peak memory {facts.peak_memory_bytes / 1e9:.2f} GB)\n"
        f"diverged models: {facts.diverged_models or 0:,}\n"
        "next: tmsjax plot, map, compare or explore, with this directory:"
    )


def _tell(facts: Mapping[str, Any]) -> None:
    """One line for each fact, with the facts below each other."""
    width = max(map(len, facts))
    for name, fact in facts.items():
        say(f"{name:{width}s}  {fact}")


def _check_select(select: str) -> None:
    check_known("--select", select, SELECTIONS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with `arguments`, by default those of the process. Raises SystemExit with its exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        warnings.simplefilter("ignore", Diverged)  # `run` and `resume` print the count
        guarded(lambda: _call(arguments))


def _call(arguments: Sequence[str] | None) -> None:
    with safe_output():
        app(arguments)


if __name__ == "__main__":
    main()
