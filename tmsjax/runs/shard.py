"""A shard: one part of a sweep's instances, to train on an independent machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tmsjax.errors import SpecError
from tmsjax.spec import shown


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a sweep's instances; `index` from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @staticmethod
    def parse(text: str | Shard | None, option: str = "--shard") -> Shard | None:
        """Parses "3/16"; returns None for None. Raises SpecError."""
        if text is None or isinstance(text, Shard):
            return text
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise SpecError(option, [("", f"needs I/K with 1 <= I <= K, such as 3/16, not {shown(text)}")])
        return Shard(int(match[1]), int(match[2]))
