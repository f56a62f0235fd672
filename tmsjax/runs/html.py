"""What a run is, as text and as HTML for notebooks: spec, state and results, with a thumbnail of the first figure.

A run may be unfinished, damaged or untrusted: nothing here raises, and spec/html.py escapes all text.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from tmsjax.errors import RunError, SpecError, Unreadable
from tmsjax.runs.facts import RunFacts
from tmsjax.runs.faults import reach
from tmsjax.runs.files import megabytes
from tmsjax.spec import description, html_table

LARGEST = 100_000  # bytes of a thumbnail
MOST_NUMBERS = 2 * 10**7  # in W, above which no thumbnail is drawn


def html(run: Any) -> str:
    """The HTML representation of a run."""
    told = summary(run)
    complete = told["state"] in ("complete", "in memory")
    return html_table(f"Run {run.spec.name}", told, _picture(run) if complete else "")


def summary(run: Any) -> dict[str, str]:
    """What is known of a run, by the name of each fact: its state, its spec, agreement with theory."""
    return {**_state(run), **description(run.spec), **_agreement(run)}


def _state(run: Any) -> dict[str, str]:
    """State, device, training time and diverged models, as far as they are known."""
    if run.directory is None:
        return {"state": "in memory", "diverged models": f"{int((run.dataset['status'] != 0).sum()):,}"}
    known = {"directory": str(run.directory.path)}
    try:
        facts, done, units = run.directory.info(), run.units_done, len(run.units)
    except Unreadable as error:
        return {"state": str(error), **known}
    except (RunError, SpecError, OSError) as error:
        return {"state": f"damaged: {error}", **known}
    return {"state": _progress(run, facts), **known} | _undone(run, facts, done, units) | _training(facts)


def _progress(run: Any, facts: RunFacts) -> str:
    """The state, in words."""
    if facts.state != "running":
        return facts.state
    held, target = run.directory.is_held(), facts.all_extents[-1].loaded()
    again = f"interrupted: `tmsjax resume {run.directory.path}` continues it"
    now = {True: "running", False: again}.get(held, "unfinished")
    if not facts.finished:
        return now
    more_steps = len(facts.finished) == len(facts.all_extents)
    goal = f"{target.train.steps:,} steps" if more_steps else f"{target.instances:,} models"
    return f"complete; to be continued to {goal}: {now}"


def _undone(run: Any, facts: RunFacts, done: int, units: int) -> dict[str, str]:
    if facts.state == "complete" or facts.finished:
        return {}
    if units > 1:
        return {"units done": f"{done:,} of {units:,}"}
    return {"steps done": f"{facts.steps_done:,} of {run.spec.train.steps:,}"}


def _training(facts: RunFacts) -> dict[str, str]:
    """What is known of its training."""
    known = {"device": facts.device}
    if facts.seconds_of_training:
        known["training time"] = f"{facts.seconds_of_training:,.1f} s"
    if facts.peak_memory_bytes:
        known["peak memory"] = megabytes(facts.peak_memory_bytes)
    if facts.diverged_models is not None:
        known["diverged models"] = f"{facts.diverged_models:,}"
    known["versions"] = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    known["git commit"] = facts.git_commit or ""
    return {name: text for name, text in known.items() if text}


def _agreement(run: Any) -> dict[str, str]:
    """Agreement with each theory, if comparison.json exists and is readable."""
    if run.directory is None:
        return {}
    path = run.directory.path / "comparison.json"
    try:
        with reach(path):
            found = json.loads(path.read_text(encoding="utf-8"))
        shares = {name: found[name]["agreement"] for name in ("exact", "candidate") if name in found}
    except Unreadable as error:
        return {"agreement with theory": str(error)}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {
        f"agreement with {name} theory": f"{share:.2%} of cells" for name, share in shares.items() if _is_number(share)
    }


def _picture(run: Any) -> str:
    """The thumbnail in base64; empty if there is none or it is too large."""
    spec = run.spec
    if spec.instances * spec.model.features * spec.model.hidden > MOST_NUMBERS:
        return ""
    try:
        from tmsjax.plots import thumbnail  # a room above: see the exceptions of the layers in pyproject.toml

        data = thumbnail(run)
    except Exception:  # untrusted runs and user-added studies may raise anything
        return ""
    return base64.b64encode(data).decode() if len(data) <= LARGEST else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
