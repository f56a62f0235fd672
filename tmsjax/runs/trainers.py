"""Who trains the units of a run: this process, several processes of this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from os.path import abspath
from typing import Any, Protocol

import xarray as xr

from tmsjax.errors import RunError, SpecError
from tmsjax.runs.here import Here
from tmsjax.runs.progress import Listener
from tmsjax.runs.share import Share, check_crew
from tmsjax.runs.unit import Job
from tmsjax.spec import Spec


class Trainer(Protocol):
    """Trains units. A context, which ends what it has started."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> Any: ...

    def platform(self, spec: Spec) -> str:
        """The platform of the devices, on which the plan depends."""

    def prepare(self, job: Job, todo: int) -> dict[str, Any]:
        """Checks memory and workers for training `todo` units. Returns `device` and `platform` for run.json."""

    def train(
        self, job: Job, todo: Sequence[int], listen: Listener | None, should_stop: Callable[[], bool]
    ) -> tuple[int, list[tuple[xr.Dataset, dict]]]:
        """Trains units. Returns the number trained, and (results, facts) of each if the run is in memory."""


def chosen(
    workers: int | None,
    client: Any,
    share: str | Share | None,
    out: str | PathLike | None,
    should_stop: Callable[[], bool],
) -> Trainer:
    """Raises SpecError if what is asked for does not fit together."""
    check_crew(workers, client, share)
    if workers is None and client is None:
        return Here()
    if out is None:
        raise SpecError("--workers, --dask", [("", "workers need `out`, where they store what they have trained")])
    place = fspath(out)
    place = place if "://" in place else abspath(place)
    if workers is not None:
        from tmsjax.runs.workers import LocalWorkers

        return LocalWorkers(workers, place)
    return _cluster().DaskCluster(client, place, should_stop)


def connect(address: str) -> Any:
    """A dask.distributed.Client of the scheduler at `address`. Raises RunError if it or Dask is missing."""
    return _cluster().connect(address)


def _cluster() -> Any:
    """The module that needs Dask."""
    try:
        from tmsjax.runs import cluster
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise RunError("--dask needs Dask: pip install 'tmsjax[dask]'") from error
    return cluster
