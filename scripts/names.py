"""Makes the table of all names that a spec can use from the registries.

    python scripts/names.py            prints it
    python scripts/names.py --write    writes it into README.md

README.md has two marks, and the table goes between them.
"""

import re
import sys
from pathlib import Path

from tmsjax.kinds import REGISTRIES

README = Path(__file__).parents[1] / "README.md"
MARKS = "<!-- names: python scripts/names.py --write -->\n", "<!-- end of names -->"


def table() -> str:
    """One row per key of a spec: its names with their sentences and options."""
    rows = []
    for key, registry in REGISTRIES.items():
        entries = []
        for name, entry in registry.items():
            if registry.source(name) is not None:  # not built in
                continue
            options = "".join(f", `{option}`" for option in getattr(entry, "options", {}))
            text = f"{entry.sentence}{' (' + options[2:] + ')' if options else ''}"
            entries.append(f"**{name}** {text}".replace("|", "\\|"))
        rows.append(f"| `{key}` | {' · '.join(entries)} |")
    return "\n".join(["| key | names |", "|---|---|", *rows]) + "\n"


def written(text: str) -> str:
    """`text` with a new table between the marks."""
    first, last = map(re.escape, MARKS)
    new, count = re.subn(f"({first}).*?({last})", lambda found: found[1] + table() + found[2], text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{README}: needs the marks {MARKS[0].strip()} and {MARKS[1]} exactly once")
    return new


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    elif sys.argv[1:]:
        raise SystemExit("usage: python scripts/names.py [--write]")
    else:
        print(table(), end="")
