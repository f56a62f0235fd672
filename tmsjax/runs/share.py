"""Who trains a run's units, as an option says it: a share of them, workers, a cluster. Checks only; no jax."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tmsjax.errors import SpecError
from tmsjax.spec import shown

MOST = 1024  # workers of one machine


@dataclass(frozen=True)
class Share:
    """One of `count` shares of a run's units; `index` from 1."""

    index: int
    count: int

    def of(self, units: int) -> range:
        """The units of this share: every `count`-th."""
        return range(self.index - 1, units, self.count)

    @staticmethod
    def parse(text: str | Share | None, option: str = "--units") -> Share | None:
        """Parses "3/16"; returns None for None. Raises SpecError."""
        if text is None or isinstance(text, Share):
            return text
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise SpecError(option, [("", f"needs I/K with 1 <= I <= K, such as 3/16, not {shown(text)}")])
        return Share(int(match[1]), int(match[2]))


def check_crew(workers: int | None, client: Any, share: str | Share | None) -> None:
    """Raises SpecError if --workers, --dask and --units do not fit together, or if one is malformed."""
    given = {"--workers": workers, "--dask": client, "--units": share}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise SpecError(", ".join(named), [("", "choose one of them")])
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST):
        raise SpecError("--workers", [("", f"needs a number of processes from 1 to {MOST}, not {shown(workers)}")])
    if isinstance(client, str) and not re.fullmatch(r"[a-z]+://[^\s/]+:[0-9]{1,5}", client):
        message = f"needs the address of a scheduler, such as tcp://HOST:8786, not {shown(client)}"
        raise SpecError("--dask", [("", message)])
