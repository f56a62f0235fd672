"""What made a run: versions of packages, the code, and the files that it imports. No jax."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tmsjax.errors import SpecError
from tmsjax.kinds import located
from tmsjax.spec import Spec

DECISIVE = ("tmsjax", "jax", "jaxlib", "numpy", "optax")  # packages on which bits depend


def provenance() -> dict[str, Any]:
    """Package versions and the git commit of this repository ("-dirty" if modified), for run.json."""
    packages = [*DECISIVE, "flax", "orbax-checkpoint", "xarray"]
    return {"versions": {name: _version(name) for name in packages}, "git_commit": _git_commit()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def decisive(spec: Spec) -> dict[str, str]:
    """What must be the same in all processes that train units of a run: versions, code, imported files."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(path.read_bytes())
    found = {name: _version(name) for name in DECISIVE} | {"code of tmsjax": code.hexdigest()[:8]}
    for name in spec.imports:
        try:
            found[name] = located([name], spec.folder)[0].sha256[:8]
        except SpecError as error:
            found[name] = error.problems[0][1]
    return found


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """A line for every fact that is not as expected."""
    return [f"{k}: {found.get(k, 'none')}, not {value}" for k, value in expected.items() if found.get(k) != value]


def disagreements(answers: Mapping[str, Any], expected: Mapping[str, str]) -> list[str]:
    """A line for every worker that differs from what is expected or from the first, or that answers with an error.

    `answers`: what each is, as a dict, or an exception, by its name.
    """
    known = {name: about for name, about in answers.items() if isinstance(about, dict)}
    all_alike = {**expected, "platform": next((about["platform"] for about in known.values()), "")}
    failed = [f"worker {name}: cannot run tmsjax: {answers[name]!r:.300}" for name in answers.keys() - known.keys()]
    return failed + [f"worker {k}: {line}" for k, about in known.items() for line in differences(about, all_alike)]


def _git_commit() -> str | None:
    here = Path(__file__).parents[1]
    try:
        ask = partial(
            subprocess.run, cwd=here, capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
        top = ask(["git", "rev-parse", "--show-toplevel"]).stdout.strip()
        if not top or Path(top) / "tmsjax" != here:  # installed inside another repository
            return None
        return ask(["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
