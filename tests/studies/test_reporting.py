"""Texts hold their numbers and tables; bad input is reported before any work."""

import json

import pytest
from conftest import reproduce
from studies.__main__ import STUDIES
from studies.reporting import QUICK, Report, Study, figures_of, fill, needed, noted, rounded, table, written

from tmsjax.spec import load_spec

NUMBERS = {"a": {"of b": [0.123456789, 0.25]}, "name": "7+", "count": 1234, "unused": [1, {"c": 2}]}
TEXT = (
    "# Title\n\nx (0.1<!-- a.of b.0:.3f -->, -0.2<!-- -a.of b.1 -->), 7<!-- name -->; 3-4<!-- count:, --> and "
    "1%<!-- gone:.1% -->\n\n<!-- table t -->\nold\n<!-- end -->\n"
)
TABLES = {"t": lambda numbers: table(["n"], [[str(numbers["count"])]])}


def test_numbers_and_tables_are_renewed_in_place():
    filled = fill(TEXT, NUMBERS, TABLES)
    assert filled == (
        "# Title\n\nx (0.123<!-- a.of b.0:.3f -->, -0.25<!-- -a.of b.1 -->), 7+<!-- name -->; 3-1,234<!-- count:, --> "
        "and n/a<!-- gone:.1% -->\n\n<!-- table t -->\n\n| n |\n| --- |\n| 1234 |\n\n<!-- end -->\n"
    )
    assert fill(filled, NUMBERS, TABLES) == filled


def test_only_numbers_that_the_text_reads_are_kept_rounded_as_far_as_it_stays_the_same():
    kept = needed(TEXT.replace("gone", "count"), NUMBERS, TABLES)
    assert kept == {"a": {"of b": [0.123457, 0.25]}, "name": "7+", "count": 1234}
    assert needed("1<!-- x:.8f -->", {"x": 0.123456789, "y": 1}, {}) == {"x": 0.123456789}
    assert rounded({"x": [1234567.0, 12345678]}, 6) == {"x": [1234570.0, 12345678]}


def test_written_json_has_a_line_for_what_fits():
    found = {"short": {"a": [1, 2]}, "long": {f"key {k}": "x" * 20 for k in range(6)}}
    text = written(found)
    assert json.loads(text) == found
    assert text.splitlines()[1] == '  "short": {"a": [1, 2]},'
    assert len(text.splitlines()) == 4 + 6 + 1


def test_a_quick_text_says_so_below_its_title():
    assert noted("# Title\n\nText.\n") == f"# Title\n\n{QUICK}\n\nText.\n"


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_text_has_its_numbers_and_figures_and_its_sweeps_are_there(study: Study):
    numbers = json.loads((study.folder / "numbers.json").read_text(encoding="utf-8"))
    assert study.text.startswith("# ")
    assert fill(study.text, numbers, study.tables) == study.text
    assert "n/a<!--" not in study.text
    shown = figures_of(study.text)
    assert shown
    for name in shown:
        assert 10_000 < (study.folder / name).stat().st_size < 600 * 1024, name


@pytest.mark.parametrize("size", ["full", "quick", "smallest"])
@pytest.mark.parametrize("study", [study for study in STUDIES if study.runs], ids=lambda study: study.name)
def test_every_run_is_a_valid_sweep(study: Study, size, tmp_path):
    report = Report(study, tmp_path, size)
    for name, sweep in study.runs.items():
        stands_in = sweep.smallest if size == "smallest" and isinstance(sweep.smallest, str) else None
        assert stands_in is None or not isinstance(study.runs[stands_in].smallest, str), name
        if stands_in is None:
            assert load_spec(study.sweep(sweep.path), report.changes(sweep), imports=True).instances, name


def test_runs_of_one_name_are_the_same_run():
    found = {}
    for study in STUDIES:
        for name, sweep in study.runs.items():
            assert found.setdefault(name, sweep) == sweep, name


def test_a_report_publishes_what_its_text_needs(tmp_path, monkeypatch):
    study = Study("one", lambda report: {"x": 0.5, "y": 1})
    monkeypatch.setattr("studies.reporting.HERE", tmp_path / "studies")
    study.folder.mkdir(parents=True)
    (study.folder / "text.md").write_text("# One\n\nx is 0<!-- x -->.\n")
    Report(study, tmp_path / "out", "quick").make()
    assert QUICK in (tmp_path / "out" / "one" / "text.md").read_text()
    report = Report(study, tmp_path / "out")
    report.make()
    report.publish()
    assert study.text == "# One\n\nx is 0.5<!-- x -->.\n"
    assert json.loads((study.folder / "numbers.json").read_text()) == {"x": 0.5}
    assert report.numbers["cost"]["seconds_of_training"] == 0


def test_unknown_studies_and_damaged_numbers_are_told_before_any_work(tmp_path):
    done = reproduce("studies", "corner", "fourth", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "fourth" in done.stderr
    (tmp_path / "corner").mkdir()
    (tmp_path / "corner" / "numbers.json").write_text("[]")
    done = reproduce("studies", "size", "corner", "--smallest", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "numbers.json: damaged" in done.stderr
    assert not (tmp_path / "runs").exists()
