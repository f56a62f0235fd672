"""A share of a run's units, for one of several independent processes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tmsjax.errors import SpecError
from tmsjax.spec import shown


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
