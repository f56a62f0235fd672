"""Specs in docs/ load, notebooks are stripped, the table of guarantees names tests that exist, versions agree."""

import ast
import json
import os
import re
import tomllib
from dataclasses import fields

from conftest import ROOT

from tmsjax.kinds import REGISTRIES
from tmsjax.spec import TABLES, load_spec

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_commented_spec_loads_and_shows_the_keys_of_its_tables():
    (block,) = re.findall(r"```toml\n(.*?)```", text_of("docs/reference/spec_keys.md"), re.DOTALL)
    assert load_spec(tomllib.loads(block)).instances == 10 * 2 * 8
    tables = [name for name in TABLES if f"\n[{name}]" in block]
    assert set(tables) >= {"model", "instance", "train", "data", "init", "record", "study"}
    keys = [field.name for name in tables for field in fields(TABLES[name]) if field.metadata]
    assert [key for key in keys if not re.search(rf"\b{key}\b", block)] == []


def test_specs_of_tutorials_are_valid():
    for path in (ROOT / "docs" / "tutorials").glob("*.md"):
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            assert load_spec(tomllib.loads(block)).instances > 1, path.name


def test_the_tables_of_the_site_have_every_key_and_every_built_in_name_with_its_options(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import built_pages

    rows = built_pages.keys().splitlines()
    for table, cls in TABLES.items():
        for key in (f"{table}.{field.name}" for field in fields(cls) if field.metadata):
            assert [row for row in rows if row.startswith(f"| `{key}` | ")], key
    names = built_pages.names()
    for key, registry in REGISTRIES.items():
        assert f"\n### {key}\n" in f"\n{names}"
        for name in (name for name in registry if registry.source(name) is None):
            (row, *_) = re.findall(rf"^\| `{name}` \| .*$", names.split(f"### {key}\n")[1], re.MULTILINE)
            assert [option for option in getattr(registry[name], "options", {}) if f"`{option}`: " not in row] == []


def test_notebooks_are_stored_without_outputs():
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        read = json.loads(path.read_text(encoding="utf-8"))
        assert not [cell for cell in read["cells"] if cell.get("outputs") or cell.get("execution_count")], path.name
        assert read["metadata"]["language_info"] == {"name": "python"}, "no version of whoever ran it last"


def test_the_tests_of_every_guarantee_exist_and_are_as_slow_as_the_table_says():
    usual, slow = set(), set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                marked = "pytest.mark.slow" in map(ast.unparse, node.decorator_list)
                (slow if marked else usual).add(node.name)
    rows = [row for row in text_of("docs/reliability.md").splitlines() if "`test_" in row]
    assert len(rows) > 20
    for row in rows:
        now, _, later = row.partition("slow: ")
        assert not set(re.findall(r"\btest_\w+\b(?!\.py)", now)) - usual, row
        assert not set(re.findall(r"\btest_\w+\b(?!\.py)", later)) - slow, row


def test_packages_are_those_of_the_tree_and_the_sweeps():
    found = {str(p.parent.relative_to(ROOT)).replace(os.sep, ".") for p in (ROOT / "tmsjax").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"tmsjax.sweeps"}


def test_readme_citation_and_changelog_are_of_this_version_and_repository():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in text_of("CITATION.cff")
    assert f"\ngit clone {PROJECT['project']['urls']['Repository']} " in text_of("README.md")
    headings = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version]
