"""What a run is, as text and as HTML for notebooks: spec, state and results, with a thumbnail of the first figure.

A run may be unfinished, damaged or untrusted: nothing here raises, and spec/html.py escapes all text.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from tmsjax.errors import RunError, SpecError, Unreadable
from tmsjax.runs.faults import reach
from tmsjax.runs.files import megabytes
from tmsjax.spec import description, html_table

LARGEST = 100_000  # bytes of a thumbnail
MOST_NUMBERS = 2 * 10**7  # in W, above which no thumbnail is drawn


def html(run: Any) -> str:
    """The HTML representation of a run."""
    told = facts(run)
    complete = told["state"] in ("complete", "in memory")
    return html_table(f"Run {run.spec.name}", told, _picture(run) if complete else "")


def facts(run: Any) -> dict[str, str]:
    """What is known of a run, by the name of each fact: its state, its spec, agreement with theory."""
    return {**_state(run), **description(run.spec), **_agreement(run)}


def _state(run: Any) -> dict[str, str]:
    """State, device, training time and diverged models, as far as they are known."""
    if run.directory is None:
        return {"state": "in memory", "diverged models": f"{int((run.dataset['status'] != 0).sum()):,}"}
    known = {"directory": str(run.directory.path)}
    try:
        info, done, units = run.directory.info(), run.units_done, len(run.units)
    except Unreadable as error:
        return {"state": str(error), **known}
    except (RunError, SpecError, OSError) as error:
        return {"state": f"damaged: {error}", **known}
    known = {"state": str(info["state"]), **known}
    if known["state"] != "complete" and units > 1:
        known["units done"] = f"{done:,} of {units:,}"
    elif known["state"] != "complete":
        known["steps done"] = f"{info['steps_done']:,} of {run.spec.train.steps:,}"
    if "device" in info:
        known["device"] = str(info["device"])
    for key, name, form in (
        ("seconds_of_training", "training time", "{:,.1f} s".format),
        ("peak_memory_bytes", "peak memory", megabytes),
        ("diverged_models", "diverged models", "{:,}".format),
    ):
        if _is_number(info.get(key)):
            known[name] = form(info[key])
    if isinstance(versions := info.get("versions"), dict):
        known["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    if info.get("git_commit"):
        known["git commit"] = str(info["git_commit"])
    return known


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
