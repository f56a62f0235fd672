"""Reports are their templates with numbers filled in; bad input is reported before any work."""

import json
import re

import phase_changes.report
import pytest
from atlas.__main__ import PROGRAM as ATLAS
from conftest import ROOT, reproduce, slowly
from gallery.__main__ import PROGRAM as GALLERY
from reporting import QUICK, render

REPORTS = {"phase_changes": phase_changes.report.TABLES, "gallery": GALLERY.tables}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_its_template_with_its_numbers_and_has_its_figures(name):
    numbers = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    template = (ROOT / "docs" / f"{name}.template.md").read_text(encoding="utf-8")
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert text == render(template, numbers, REPORTS[name])
    assert not numbers["all"]["quick"]
    assert "n/a" not in text
    assert "{{" not in text
    named = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(named) >= 10
    for path in named:
        assert 10_000 < (ROOT / "docs" / path).stat().st_size < 600 * 1024, path


@pytest.mark.parametrize("program", [GALLERY, ATLAS], ids=lambda program: program.name)
def test_a_page_of_a_quick_report_says_so_below_its_title(tmp_path, program):
    numbers = json.loads((ROOT / "docs" / f"{program.name}.json").read_text())
    numbers["all"]["quick"] = True
    program.write(numbers, tmp_path / "page.md")
    published = (ROOT / "docs" / f"{program.name}.md").read_text(encoding="utf-8")
    title, _, rest = published.partition("\n\n")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == f"{title}\n\n{QUICK}\n\n{rest}"


@pytest.mark.slow
def test_the_quick_atlas_makes_every_section(tmp_path):
    done = reproduce("atlas", str(tmp_path), "--quick")
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads((tmp_path / "atlas.json").read_text())
    published = json.loads((ROOT / "docs" / "atlas.json").read_text())
    assert made.keys() == published.keys()
    for section in made.keys() - {"all"}:
        assert made[section].keys() == published[section].keys(), section
    page = (tmp_path / "atlas.md").read_text(encoding="utf-8")
    assert QUICK in page
    for name in re.findall(r"!\[.*?\]\((.+?)\)", page):
        assert (tmp_path / name).stat().st_size > 10_000, name


def test_unknown_sections_are_refused(tmp_path):
    done = reproduce("phase_changes", str(tmp_path), "--only", "exact,fourth")
    assert done.returncode == 2
    assert "fourth" in done.stderr


@pytest.mark.parametrize("damaged", ["{bad", *slowly("[]", '{"all": 3}')])
def test_damaged_numbers_are_told_before_any_work(tmp_path, damaged):
    (tmp_path / "gallery.json").write_text(damaged)
    done = reproduce("gallery", str(tmp_path), "--only", "intro")
    assert done.returncode == 2
    assert "gallery.json: damaged" in done.stderr
    assert not (tmp_path / "runs").exists()
