"""Runs: training a sweep, storing it, reopening it. Three groups of modules; reading a run imports no jax.

A run on disk: directory.py and facts.py (run.json), store.py and dataset.py (results), checkpoint.py, which alone
imports orbax; files.py, faults.py, locks.py and trial.py do what all of them need from a file system.

Training it: sweep.py runs a spec. opening.py finds or begins the directory, job.py is the run as those see it who train
its units: this process and others that join (join.py), or workers of a Dask cluster (cluster.py). unit.py trains a
unit: training.py loops over segments, history.py records, results.py builds the dataset. interrupts.py, progress.py,
imports.py, source.py and versions.py serve them; capacity.py and estimates.py predict what a run needs, tuning.py finds
a fast plan.

The user's handle: run.py, html.py, and early.py, which makes results of an interrupted run.
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach

if TYPE_CHECKING:  # imported when they are first used
    from tmsjax.runs.directory import RunDirectory as RunDirectory
    from tmsjax.runs.directory import set_aside as set_aside
    from tmsjax.runs.early import finish as finish
    from tmsjax.runs.estimates import estimate as estimate
    from tmsjax.runs.estimates import estimate_for as estimate_for
    from tmsjax.runs.facts import RunFacts as RunFacts
    from tmsjax.runs.faults import reach as reach
    from tmsjax.runs.files import as_path as as_path
    from tmsjax.runs.files import check_writable as check_writable
    from tmsjax.runs.files import read_dataset as read_dataset
    from tmsjax.runs.files import write_dataset as write_dataset
    from tmsjax.runs.files import write_json as write_json
    from tmsjax.runs.files import write_text as write_text
    from tmsjax.runs.files import write_whole as write_whole
    from tmsjax.runs.html import summary as summary
    from tmsjax.runs.imports import with_imports as with_imports
    from tmsjax.runs.interrupts import stopping as stopping
    from tmsjax.runs.progress import counted as counted
    from tmsjax.runs.progress import progress_bar as progress_bar
    from tmsjax.runs.run import Run as Run
    from tmsjax.runs.run import as_run as as_run
    from tmsjax.runs.run import open_run as open_run
    from tmsjax.runs.run import results_of as results_of
    from tmsjax.runs.store import Store as Store
    from tmsjax.runs.sweep import check_options as check_options
    from tmsjax.runs.sweep import connect as connect
    from tmsjax.runs.sweep import run_sweep as run_sweep
    from tmsjax.runs.tuning import tune as tune
    from tmsjax.runs.versions import provenance as provenance

__getattr__, __dir__, __all__ = attach(__name__)
