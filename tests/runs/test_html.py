"""HTML of runs and specs for notebooks: all text is escaped, complete runs have a thumbnail, nothing raises."""

import base64
import json
import re
from html.parser import HTMLParser

import pytest
from conftest import plain_spec, small_spec

import tmsjax
from tmsjax.errors import RunError
from tmsjax.runs import Run, RunDirectory, html, open_run, run_sweep, write_json
from tmsjax.runs.files import read_sealed, write_sealed
from tmsjax.spec import load_spec, stored_spec, to_toml

EVIL = "<script>alert('&')</script>"
TAGS = {"div", "table", "caption", "b", "tbody", "tr", "th", "td", "img"}


class Read(HTMLParser):
    """Facts of a table by their names, the tags that occur, and the picture."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.cells, self.picture = set(), [], [], None
        self.feed(text)
        assert not self.open, "every tag is closed"
        cells = [text for tag, text in self.cells if tag in ("th", "td")]
        self.facts = dict(zip(cells[::2], cells[1::2], strict=True))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            assert set(dict(attributes)) == {"alt", "style", "src"}
            self.picture = base64.b64decode(dict(attributes)["src"].removeprefix("data:image/png;base64,"))
        else:
            assert set(dict(attributes)) <= {"style"}
            self.open.append(tag)
            self.cells += [(tag, "")] if tag in ("th", "td") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("th", "td"):
            self.cells[-1] = (self.open[-1], self.cells[-1][1] + data)


def named_cases() -> dict:
    probability, model = {"select": "case", "of": [0.9, 0.1]}, {"activation": "linear"}  # whose exact loss is short
    raw = plain_spec(3, 2, probability=probability, model=model)
    raw["axes"] = {"case": {"values": [EVIL, "plain"]}, "replica": {"count": 2}}
    return raw


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_sweep(named_cases(), tmp_path_factory.mktemp("html") / "run")


def test_a_spec_says_what_it_is():
    spec = load_spec(small_spec())
    read = Read(spec._repr_html_())
    assert read.tags <= TAGS
    assert read.facts["name"] == "small"
    assert read.facts["models"] == "12 = 2 feature_probability x 3 extra_importance x 2 replica"
    assert read.facts["axis extra_importance"] == "0.1, 1, 10"
    assert read.facts["model"] == "tied, relu, 2 features, 1 hidden"
    assert read.facts["training"] == "30 steps of adam, batches of 16, cosine schedule"
    assert read.facts["data"] == "independent activity, uniform values"
    assert read.facts["hash"] == spec.hash
    assert read.picture is None


def test_long_axes_are_cut_short():
    raw = plain_spec(2, 1, probability="p")
    raw["axes"] = {"p": {"linear": [0.01, 1.0], "count": 100}, "replica": {"count": 1000}}
    facts = Read(load_spec(raw)._repr_html_()).facts
    assert facts["axis p"] == "0.01, 0.02, 0.03, ... (100 values), 0.98, 0.99, 1"
    assert facts["axis replica"] == "0, 1, 2, ... (1,000 values), 997, 998, 999"


def test_a_complete_run_says_what_came_out_and_shows_its_first_figure(run):
    compared = {"exact": {"agreement": 0.99949}, "candidate": {"agreement": None}}
    write_json(run.directory.path / "comparison.json", compared)
    read = Read(open_run(run.directory.path)._repr_html_())
    facts = run.directory.info()
    assert read.facts["state"] == "complete"
    assert read.facts["device"] == facts.device
    assert read.facts["training time"] == f"{facts.seconds_of_training:,.1f} s"
    assert read.facts["diverged models"] == "0"
    assert read.facts["agreement with exact theory"] == "99.95% of cells"
    assert "agreement with candidate theory" not in read.facts
    assert read.picture.startswith(b"\x89PNG")
    assert len(read.picture) < 100_000


def test_texts_of_a_spec_and_of_run_json_are_escaped(run, tmp_path):
    text = run._repr_html_()
    read = Read(text)
    assert "<script" not in text
    assert read.tags <= TAGS
    assert read.facts["axis case"] == f"{EVIL}, plain"
    directory = RunDirectory(tmp_path / "<img src=x onerror=alert(1)>")
    directory.create()
    info = read_sealed(run.directory.info_file)[0]
    info |= {"state": EVIL, "device": EVIL}
    info["spec"] = info["spec"].replace('family = "tied"', f'family = "{EVIL}"')
    write_sealed(directory.info_file, info)
    (directory.path / "comparison.json").write_text(json.dumps({"exact": {"agreement": EVIL}}))
    text = open_run(directory.path)._repr_html_()
    read = Read(text)
    assert not re.search("<script|<img", text)
    assert {read.facts[key] for key in ("state", "device")} == {EVIL}
    assert read.facts["model"].startswith(EVIL)
    assert "agreement with exact theory" not in read.facts
    write_sealed(directory.info_file, info | {"seconds_of_training": EVIL})
    with pytest.raises(RunError, match="damaged: no good seconds_of_training"):
        open_run(directory.path)


def test_runs_that_are_unfinished_or_damaged_have_html(run, tmp_path):
    unfinished = RunDirectory(tmp_path / "unfinished")
    unfinished.create()
    facts = run.directory.info()
    unfinished.write(facts.with_(state="running", steps_done=7))
    opened = open_run(unfinished.path)
    read = Read(opened._repr_html_())
    assert (read.facts["state"], read.facts["steps done"]) == (
        f"interrupted: `tmsjax resume {unfinished.path}` continues it",
        "7 of 30",
    )
    assert read.picture is None
    for damage in (lambda: unfinished.info_file.write_text("{"), unfinished.info_file.unlink):
        damage()
        assert Read(opened._repr_html_()).facts["state"].startswith("damaged: ")
    unfinished.write(facts)
    (unfinished.path / "results.nc").write_bytes(b"no dataset")
    huge = '{"exact": {"agreement": 1' + "0" * 400 + "}}"
    for comparison in ("[", "[1]", "3", '{"exact": 3}', '{"exact": {"agreement": NaN}}', huge):
        (unfinished.path / "comparison.json").write_text(comparison)
        read = Read(open_run(unfinished.path)._repr_html_())
        assert read.facts["state"] == "complete"
        assert read.picture is None
        assert "agreement with exact theory" not in read.facts


@pytest.fixture
def in_memory(small_run) -> Run:
    run = open_run(small_run)
    return Run(run.spec, None, run.dataset.load())


def test_a_run_in_memory_has_html_with_a_picture(in_memory):
    read = Read(in_memory._repr_html_())
    assert read.facts["state"] == "in memory"
    assert read.facts["diverged models"] == "0"
    assert read.picture.startswith(b"\x89PNG")


def test_a_drawer_that_fails_and_a_picture_that_is_too_large_leave_the_rest(run, monkeypatch):
    def fails(run):
        raise ZeroDivisionError

    for drawer in (fails, lambda run: b"x" * (html.LARGEST + 1)):
        monkeypatch.setattr(tmsjax.plots, "thumbnail", drawer)
        assert Read(run._repr_html_()).picture is None
    monkeypatch.setattr(tmsjax.plots, "thumbnail", lambda run: b"small")
    assert Read(run._repr_html_()).picture == b"small"
    monkeypatch.setattr(html, "MOST_NUMBERS", 5)
    assert Read(run._repr_html_()).picture is None


def test_names_that_are_not_known_here_are_shown(run):
    text = to_toml(run.spec).replace('activation = "linear"', 'activation = "mine"')
    spec = stored_spec(text, "test")
    assert "mine" in Read(spec._repr_html_()).facts["model"]
    shown = Run(spec, None, run.dataset.assign_attrs(spec=text))
    assert Read(shown._repr_html_()).picture.startswith(b"\x89PNG")


def test_a_thumbnail_is_the_map_where_there_is_one(monkeypatch, in_memory):
    drawn = []
    original = tmsjax.plots.maps.phase_map
    monkeypatch.setattr(tmsjax.plots.maps, "phase_map", lambda *given: drawn.append(1) or original(*given))
    assert tmsjax.plots.thumbnail(in_memory).startswith(b"\x89PNG")
    assert drawn == [1]
