"""Makes the pages of docs/reference: public names from the rooms' faces, spec keys and the command line.

    python scripts/reference.py            lists the pages that are out of date
    python scripts/reference.py --write    writes them

A page of names has a table, readable as it is, and directives from which Sphinx takes docstrings. Docstrings are plain
text; `as_rst` turns them into reStructuredText, and docs/conf.py applies it.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import names

from tmsjax.spec import TABLES

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
ROOMS = ("kinds", "spec", "models", "engine", "theory", "runs", "analysis", "plots", "bench")
MADE = "<!-- made by: python scripts/reference.py --write -->\n"
WORDS = {"int": "whole number", "float": "number", "quantity": "quantity", "axis": "name of an axis"}

OF_KEYS = """# The keys of a spec

A spec is a TOML file; [the README](../../README.md#write-a-sweep) has one with comments. Besides the tables below it
has `name` (a-z, 0-9 and '-'), `seed` (default 0), `imports` (files or modules to execute) and `[axes]`:

| axis | values |
|---|---|
| `{ log = [a, b], count = k }` | k values from a to b, equally spaced in the logarithm, both ends included |
| `{ linear = [a, b], count = k }` | k values from a to b, equally spaced, both ends included |
| `{ values = [...] }` | these |
| `{ count = k }` | 0 to k - 1; for example the axis `replica`, which no quantity has to name |

A *quantity* is a number or the name of an axis. Where there may be one per feature, it is also a list or a curve over
features. n is `model.features` and m is `model.hidden`. `init_scale` and `bias_scale` are standard deviations. Nothing
has a unit but `checkpoint.every_seconds` and `checkpoint.segment_seconds`.
"""
OF_COMMANDS = """`tmsjax COMMAND --help` prints the same. Exit codes: 0; 1, a run failed; 2, a mistake in the input,
reported before any work; 130 and 143, stopped by Ctrl-C or SIGTERM.
"""


def pages() -> dict[str, str]:
    """The text of every page by its file's name."""
    out = {f"{room}.md": _face(import_module(f"tmsjax.{room}"), f"tmsjax.{room}") for room in ROOMS}
    out["tmsjax.md"] = _face(import_module("tmsjax"), "tmsjax")
    out["errors.md"] = _face(import_module("tmsjax.errors"), "tmsjax.errors")
    return {**out, "spec_keys.md": _spec_keys(), "command_line.md": _command_line()}


# Public names


def public(module: ModuleType) -> list[str]:
    """The public names of a package: `__all__`, or what a module without it defines."""
    own = [k for k, v in vars(module).items() if not k.startswith("_") and inspect.getmodule(v) is module]
    return list(getattr(module, "__all__", own))


def _face(module: ModuleType, title: str) -> str:
    """The page of a module's public names."""
    rows, directives = [], []
    for name in sorted(public(module), key=lambda name: (name.lower(), name)):
        value, path = getattr(module, name), f"{module.__name__}.{name}"
        if path in (f"tmsjax.{room}" for room in ROOMS):
            rows.append(f"| [`{name}`]({name}.md) | module | {_cell(_first_sentence(value))} |")
            continue
        kind, lines, sentence = _entry(module, name, value)
        anchor = f"module-{value.__name__}" if kind == "module" else path
        linked = f"`{name}`" if "   :no-index:" in lines else f'<a href="#{anchor}"><code>{name}</code></a>'
        rows.append(f"| {linked} | {kind} | {_cell(sentence)} |")
        directives += [*lines, ""]
    text = _markdown(inspect.getdoc(module) or "")
    table = "\n".join(["| name | is a | meaning |", "|---|---|---|", *rows])
    body = "\n".join(directives).rstrip()
    return f"{MADE}\n# {title}\n\n{text}\n\n## Names\n\n{table}\n\n## Documentation\n\n```{{eval-rst}}\n{body}\n```\n"


def _entry(module: ModuleType, name: str, value: Any) -> tuple[str, list[str], str]:
    """What a name is, the directive that documents it, and a sentence about it."""
    path = f"{module.__name__}.{name}"
    if inspect.ismodule(value):
        lines = [f".. automodule:: {value.__name__}", "   :members:"]
        return "module", lines, _first_sentence(value)
    if inspect.isclass(value):
        again = ["   :no-index:"] if module.__name__ == "tmsjax" else []  # it is in the index as a name of its room
        lines = [f".. autoclass:: {path}", "   :members:", *again]
        return ("exception" if issubclass(value, BaseException) else "class"), lines, _first_sentence(value)
    if inspect.isroutine(value):
        lines = [f".. autofunction:: {path}"]
        defined = f"{value.__module__}.{value.__qualname__}"
        if value.__name__ != name:
            lines += ["", f"   Defined as ``{defined}``."]
        return "function", lines, _first_sentence(value)
    file, comment, shown = _assignment(module.__name__.partition(".")[2], name)
    comment = comment and comment[0].upper() + comment[1:]
    told = [f"   {as_rst([comment])[0]}.", ""] if comment else []
    value_line = [f"   :value: {shown}"] if shown else []
    where = [f"   Defined in ``{file}``."]
    return (
        "constant",
        [f".. py:data:: {name}", f"   :module: {module.__name__}", *value_line, "", *told, *where],
        comment,
    )


def _first_sentence(value: Any) -> str:
    text = inspect.getdoc(value) or ""
    return re.split(r"(?<=\.)\s(?=[A-Z`])", " ".join(text.split("\n\n")[0].split()))[0].rstrip(":")


def _assignment(room: str, name: str) -> tuple[str, str, str]:
    """Where a constant of a room is assigned: file, the comment on or above that line, and its value if short."""
    for file in sorted((ROOT / "tmsjax" / room).glob("*.py")):
        lines, tree = _source(file)
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            found = {e.id for t in targets if t for e in ast.walk(t) if isinstance(e, ast.Name)}
            if name in found:
                comment = re.search(r"  # (?!noqa)(.*)$", lines[(node.end_lineno or node.lineno) - 1])
                above = re.match(r"# (.*)$", lines[node.lineno - 2])
                value = ast.unparse(node.value)
                alone = len(found) == 1 and len(value) <= 80
                text = comment[1] if comment else above[1] if above else ""
                return str(file.relative_to(ROOT)), text.rstrip("."), value if alone else ""
    if room != "kinds":  # a room may export a constant of the first room
        return _assignment("kinds", name)
    raise SystemExit(f"found no assignment of {name}")


@cache
def _source(file: Path) -> tuple[list[str], ast.Module]:
    text = file.read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text)


# The spec's keys and the command line


def _spec_keys() -> str:
    """A section for each table of a spec, and the names that its keys accept."""
    parts = [f"{MADE}\n{OF_KEYS}"]
    for table, cls in TABLES.items():
        doc = re.sub(r"^\[\w+\]: ", "", inspect.getdoc(cls) or "")
        parts += [
            f"## [{table}]\n",
            _markdown(doc[:1].upper() + doc[1:]) + "\n",
            "| key | value | default |\n|---|---|---|",
        ]
        for field in fields(cls):
            if field.metadata:
                parts.append(
                    f"| `{table}.{field.name}` | {_cell(_allowed(field.metadata))} | {_default(field.default)} |"
                )
        parts.append("")
    parts += ["## Names\n", "Names in brackets are options that an entry adds to its table.\n", names.table()]
    return "\n".join(parts)


def _default(value: Any) -> str:
    if value is MISSING:
        return "required"
    return "" if value is None else f"`{list(value) if isinstance(value, tuple) else value}`".replace("'", '"')


def _allowed(rule: Any) -> str:
    """What a key accepts, from its rule."""
    from tmsjax.spec.keys import range_words

    kind = rule["type"]
    if kind in ("choice", "choices"):
        some = ", ".join(f"`{name}`" for name in rule["of"])
        return f"one of {some}" if kind == "choice" else f"a list of {some}"
    if kind in ("path", "steps"):
        return {"path": "path of a run's directory", "steps": "list of whole numbers of at least 0"}[kind]
    ranged = f" {range_words(rule)}" if "low" in rule or "high" in rule else ""
    further = [", or one per feature"] if rule.get("per_feature") else []
    return "".join([WORDS[kind], ranged, *further, *(f', or "{word}"' for word in rule.get("words", ()))])


def _command_line() -> str:
    """A section for each command, from typer's own description of it."""
    import typer.main

    from tmsjax.cli import app

    group: Any = typer.main.get_command(app)
    parts = [f"{MADE}\n# The command line\n", _markdown(group.help) + "\n", OF_COMMANDS]
    for name, command in sorted(group.commands.items()):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name != "argument"]
        words = [p.metavar or p.name.upper() for p in arguments]
        usage = " ".join(["tmsjax", name, *words, *(["[OPTIONS]"] if options else [])])
        parts += [f"## tmsjax {name}\n", f"```\n{usage}\n```\n", _markdown(inspect.cleandoc(command.help)) + "\n"]
        rows = [f"| `{word}` | {_cell(p.help or '')} |" for word, p in zip(words, arguments, strict=True)]
        rows += [f"| {_option(p)} | {_cell(p.help or '')}{_option_default(p)} |" for p in options]
        if rows:
            parts += ["| argument or option | meaning |\n|---|---|", *rows, ""]
    return "\n".join(parts)


def _option(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.opts[0].lstrip('-').upper()}"
    return f"`{option.opts[0]}{value}`"


def _option_default(option: Any) -> str:
    if option.is_flag or option.default in (None, ()):
        return ""
    return f" Default: `{option.default}`."


# Docstrings


def as_rst(lines: list[str]) -> list[str]:
    """A docstring, which is plain text with `code` in backticks, as reStructuredText.

    Paragraphs of "name: text" lines become lists of names, "- " lines lists, and other indented paragraphs are kept
    as they are laid out.
    """
    return list(_converted(lines, _escaped, ("::", ""), "**{}**: {}"))


def _markdown(text: str) -> str:
    """The same for pages in Markdown."""
    escape = lambda part: part.replace("*", "\\*").replace("|", "\\|").replace("<", "\\<")  # noqa: E731
    out = _converted(text.splitlines(), lambda line: _outside_code(line, escape, "`{}`"), (), "**{}**: {}")
    return "\n".join(out).strip()


def _converted(lines: list[str], escape: Any, literal: Sequence[str], item: str) -> Iterator[str]:
    for block in _paragraphs(lines):
        doctest = bool(literal)  # reStructuredText knows them
        if _is_named(block):
            for name, text in _items(block):
                yield f"* {item.format(escape(name.replace('`', '')), escape(text))}"
        elif block[0].lstrip().startswith(("- ", "* ")) and not block[0].startswith("    "):
            for line in block:
                bare = line.lstrip()
                yield f"* {escape(bare[2:])}" if bare[:2] in ("- ", "* ") else f"  {escape(bare)}"
        elif doctest and block[0].lstrip().startswith(">>>"):
            yield from textwrap.dedent("\n".join(block)).splitlines()
        elif any(line.startswith(" ") for line in block):
            head = list(takewhile(lambda line: not line.startswith(" "), block))
            rest = textwrap.dedent("\n".join(block[len(head) :])).splitlines()
            section = len(head) == 1 and re.fullmatch(r"[A-Z]\w+:", head[0])  # such as "Args:"
            yield from [f"**{head[0]}**" if section else escape(line) for line in head]
            yield ""
            if section and all(NAMED.match(line) for line in rest if not line.startswith(" ")):
                for name, text in _items(rest):
                    yield f"* {item.format(escape(name.replace('`', '')), escape(text))}"
            elif _is_named(rest) or (doctest and rest[0].startswith(">>>")):
                yield from _converted(rest, escape, literal, item)
            else:
                yield from [*literal, *(f"    {line}" for line in rest)]
        else:
            yield from map(escape, block)
        yield ""


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


NAMED = re.compile(r"^(`?[\w*., \[\]()]{1,40}?`?):\s+(\S.*)$")


def _is_named(block: list[str]) -> bool:
    """Whether these are lines "name: text", with their further lines indented."""
    heads = [line for line in block if not line.startswith(" ")]
    indented = len(heads) < len(block)
    return all(NAMED.match(line) for line in heads) and len(heads) > 0 and (indented or len(heads) > 1)


def _items(block: list[str]) -> Iterator[tuple[str, str]]:
    name, text = "", ""
    for line in block:
        found = None if line.startswith(" ") else NAMED.match(line)
        if found:
            if name:
                yield name, text
            name, text = found[1], found[2]
        else:
            text += " " + line.strip()
    yield name, text


def _escaped(text: str) -> str:
    return _outside_code(text, lambda part: re.sub(r"([\\*_|`])", r"\\\1", part), "``{}``")


def _outside_code(text: str, escape: Any, code: str) -> str:
    """`text` with `escape` applied outside of `code` in backticks."""
    parts = re.split(r"`+([^`]+)`+", text)
    return "".join(code.format(part.strip()) if k % 2 else escape(part) for k, part in enumerate(parts))


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return _markdown(" ".join(text.split())).replace("\n", " ")


def main() -> None:
    if sys.argv[1:] not in ([], ["--write"]):
        raise SystemExit("usage: python scripts/reference.py [--write]")
    for name, text in pages().items():
        file = PAGES / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        print(file.relative_to(ROOT))
        if sys.argv[1:]:
            PAGES.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
