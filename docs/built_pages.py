"""The parts of the site that the build writes: tables of keys and names, help texts, and a page for each study.

docs/conf.py calls `write`. Everything it writes is ignored by git.
"""

import os
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("TYPER_USE_RICH", "0")  # help texts without frames

from typer.testing import CliRunner

from tmsjax.cli import app
from tmsjax.kinds import REGISTRIES, Option
from tmsjax.spec import TABLES
from tmsjax.spec.keys import range_words

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {  # files outside docs/ that are pages of the site
    ROOT / "README.md": DOCS / "project" / "readme.md",
    ROOT / "CONTRIBUTING.md": DOCS / "project" / "contributing.md",
    ROOT / "CHANGELOG.md": DOCS / "project" / "changelog.md",
}
STUDIES = "scripts/studies/*/text.md"  # of each, a page results/NAME
LINK = re.compile(r"(\]\(|src=\")([^)\s:#\"]+)")
WORDS = {
    "axis": "name of an axis",
    "by parameter": "a quantity",
    "float": "number",
    "int": "whole number",
    "quantity": "quantity",
    "steps": "list of whole numbers of at least 0",
}
OPTIONS = {  # by type
    "features": "quantity, or one per feature",
    "int": "whole number",
    "numbers": "list of numbers, or of such lists",
    "path": "path",
    "paths": "path, or a list of them",
    "quantity": "quantity",
}


def pages() -> dict[Path, Path]:
    """The pages of the site by the files outside docs/ that they are made from."""
    return PAGES | {file: DOCS / "results" / f"{file.parent.name}.md" for file in sorted(ROOT.glob(STUDIES))}


def write() -> None:
    """Writes all of it, replacing what an earlier build left."""
    for old in (DOCS / "results").glob("*.md"):
        old.unlink()
    for file, page in pages().items():
        page.parent.mkdir(exist_ok=True)
        page.write_text(moved(file.read_text(encoding="utf-8"), file.parent, page.parent), encoding="utf-8")
    for name, text in {"keys": keys(), "names": names(), "commands": commands()}.items():
        (DOCS / "reference" / f"_{name}.md").write_text(text, encoding="utf-8")


def moved(text: str, old: Path, new: Path) -> str:
    """The text of a page in the folder `old`, without comments, with relative links as they must be in `new`."""
    known = pages()

    def link(found: re.Match[str]) -> str:
        target = (old / found[2]).resolve()
        return found[1] + (os.path.relpath(known.get(target, target), new) if target.exists() else found[2])

    return LINK.sub(link, re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))


def keys() -> str:
    """A section for each table of a spec."""
    parts = []
    for table, cls in TABLES.items():
        about = re.sub(r"^\[\w+\]: ", "", (cls.__doc__ or "").split("\n\n")[0])
        parts += [f"### [{table}]\n\n{about[:1].upper() + about[1:]}\n\n| key | value | default |\n|---|---|---|"]
        parts += [
            f"| `{table}.{field.name}` | {_allowed(field.metadata)} | {_default(field.default)} |"
            for field in fields(cls)
            if field.metadata
        ]
        parts.append("")
    return "\n".join(parts)


def _allowed(rule: Any) -> str:
    """What a key accepts, from its rule."""
    kind = rule["type"]
    if kind in ("choice", "choices"):
        some = ", ".join(f"`{name}`" for name in rule["of"])
        return f"one of {some}" if kind == "choice" else f"a list of {some}"
    ranged = f" {range_words(rule)}" if "low" in rule or "high" in rule else ""
    further = ", or one per feature" if rule.get("per_feature") else ""
    ranged += " for each of some parameters, such as `{ b = 0.0 }`" if kind == "by parameter" else ""
    return WORDS[kind] + ranged + further + "".join(f', or "{word}"' for word in rule.get("words", ()))


def _default(value: Any) -> str:
    if value is MISSING:
        return "required"
    return (
        ""
        if value is None or value == ()
        else f"`{list(value) if isinstance(value, tuple) else value}`".replace("'", '"')
    )


def names() -> str:
    """A table for each key that chooses a built-in entry by name, as `tmsjax kinds` prints it."""
    parts = []
    for key, registry in REGISTRIES.items():
        parts.append(f"### {key}\n\n| name | meaning | options |\n|---|---|---|")
        for name, entry in registry.items():
            if registry.source(name) is None:
                options = "; ".join(_option(*each) for each in getattr(entry, "options", {}).items())
                parts.append(f"| `{name}` | {_cell(entry.sentence)} | {options} |")
        parts.append("")
    return "\n".join(parts)


def _option(key: str, option: Option) -> str:
    """An option with its type and default."""
    needed = "optional" if option.optional else "required" if option.default is None else f"default {option.default:g}"
    return f"`{key}`: {OPTIONS[option.type]}, {needed}"


def _cell(text: str) -> str:
    return re.sub(r"([|*_])", r"\\\1", text)


def commands() -> str:
    """The help of each command."""
    parts = []
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        shown = CliRunner().invoke(app, [name, "--help"], prog_name="tmsjax", terminal_width=96)
        parts.append(f"## tmsjax {name}\n\n```text\n{shown.output.strip()}\n```\n")
    return "\n".join(parts)
