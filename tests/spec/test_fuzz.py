"""Corrupted specs and run files give one error that names the location, no traceback, and no files elsewhere."""

import tomllib
from contextlib import suppress

import pytest
from conftest import ROOT, copied, run_command, small_spec, write_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmsjax.errors import RunError, SpecError
from tmsjax.runs import open_run
from tmsjax.runs.files import read_sealed, write_sealed
from tmsjax.spec import load_spec
from tmsjax.spec.tables import to_dict

SWEEPS = ROOT / "sweeps"
EXAMPLE = """
name = "five"
seed = 3
[model]
features = 5
hidden = 2
activation = "relu"
[axes]
probability = { log = [1.0, 0.01], count = 20 }
decay       = { values = [0.7, 0.9] }
case        = { values = ["a", "b"] }
replica     = { count = 8 }
[instance]
feature_probability = "probability"
importance = { select = "case", of = [{ first = 1.0, ratio = "decay" }, [1, 0.9, "decay", 0.7, 0.6]] }
init_scale = "xavier"
[train]
optimizer = "adamw"
weight_decay = 0.1
steps = 10_000
batch = 1024
[record]
measures = ["loss", "norm"]
steps = [0, 100]
[study]
x = "decay"
"""
TEXTS = [EXAMPLE, *(path.read_text() for path in sorted(SWEEPS.glob("*.toml")))]
WORDS = [*"[]{}='\n,0", '"', '"""', "#", "-1", "1.5", "nan", "-inf", "1e400", "true", "1979-05-27", "\x00", "é"]
WORDS += ["[axes]", "[train]", "log", "count", "values", "replica", "select", "of", "permute", "xavier", "steps"]
WORDS += ["9" * 400, "9" * 5000, '"../../x"', "a.b.c = 1\n", "[[model]]\n", "0x7fffffffffffffff"]
WORDS += ["[" * 300, "{a=" * 300]
KEYS = ["log", "linear", "values", "count", "first", "ratio", "select", "of", "permute", "geometric"]
TORN = st.sampled_from(["train.steps=", "axes.p={", "a.b.c.d=1", "=", "train=3", "name.x=1"])
OVERRIDES = st.text(max_size=30) | TORN
NAMES = st.sampled_from(["decay", "probability", "case", "replica", "xavier", "adam", "uniform", "loss", "../x"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NAMES | st.dates()
TABLE_KEYS = st.sampled_from(KEYS) | st.text(max_size=8)
ANYTHING = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TABLE_KEYS, inner, max_size=4), max_leaves=12
)
USUAL = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def check(load) -> None:
    """Loading gives a spec that survives being written and read, or an error whose every line names its place."""
    try:
        spec = load()
    except SpecError as error:
        problems = error.problems
    else:
        assert load_spec(to_dict(spec)) == spec
        assert spec.hash
        assert spec.instances < 2**31
        return
    assert problems
    for place, message in problems:
        assert message
        assert place or "TOML" in message or "nested too deeply" in message, message
        assert len(place) + len(message) < 700, "a message shows no more than a line or two of what was given"


def check_mangled_text(data, path) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 40)))
        text = text[:start] + data.draw(st.sampled_from(WORDS) | st.text(max_size=5)) + text[stop:]
    path.write_bytes(text.encode("utf-8", "replace"))
    check(lambda: load_spec(path))


def check_any_value(data, path) -> None:
    raw = to_dict(load_spec(tomllib.loads(EXAMPLE)))
    for _ in range(data.draw(st.integers(1, 3))):
        table = data.draw(st.sampled_from([*raw, "surprise"]))
        body = raw.get(table)
        if isinstance(body, dict) and data.draw(st.booleans()):
            key = data.draw(st.sampled_from([*body, "surprise"]) | st.text(max_size=6))
            body[key] = data.draw(ANYTHING)
        else:
            raw[table] = data.draw(ANYTHING)
    check(lambda: load_spec(raw))


def check_overrides(data, path) -> None:
    overrides = data.draw(st.lists(OVERRIDES, max_size=3))
    check(lambda: load_spec(small_spec(), overrides))


CHECKS = {"text": check_mangled_text, "value": check_any_value, "override": check_overrides}


@pytest.mark.smoke
@pytest.mark.parametrize("mangled", CHECKS)
@USUAL
@given(st.data())
def test_nothing_mangled_gets_past_the_loader(tmp_path_factory, mangled, data):
    CHECKS[mangled](data, tmp_path_factory.getbasetemp() / "mangled.toml")


@pytest.mark.slow
@pytest.mark.parametrize("mangled", CHECKS)
@settings(USUAL, max_examples=2000, derandomize=False)
@given(st.data())
def test_nothing_mangled_at_random_gets_past_the_loader(tmp_path_factory, mangled, data):
    CHECKS[mangled](data, tmp_path_factory.getbasetemp() / "mangled.toml")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "a\n", ".", "", "x" * 101, "$(id)"])
def test_a_name_cannot_leave_the_folder_of_runs(tmp_path, name):
    with pytest.raises(SpecError, match="name: needs 1 to 100 of a-z, 0-9 and '-'"):
        load_spec(small_spec(name=name))


@pytest.mark.slow
def test_commands_write_into_the_runs_directory_alone(tmp_path):
    cases = {"values": ["../../x", "/tmp/evil", "$(touch evil)"]}
    raw = small_spec(axes={"feature_probability": {"values": [0.5, 0.1]}, "case": cases})
    raw["train"]["learning_rate"] = {"select": "case", "of": [1e-2, 1e-3, 1e-4]}
    spec = write_spec(tmp_path / "sweep.toml", raw)
    for verb in (("run", spec, "--out", "run"), ("map", "run"), ("compare", "run"), ("plot", "run"), ("info", "run")):
        assert "Traceback" not in run_command(*verb, cwd=tmp_path).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "sweep.toml"]
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {
        *("run.json", "spec.toml", "log.jsonl", "checkpoints", "results.nc", ".lock", ".begin"),
        *("phase_map-best.nc", "theory.nc", "comparison.json", "report.md", "figures"),
    }


@settings(USUAL, max_examples=30)
@given(st.data())
def test_no_mangled_run_json_ends_in_a_traceback(tmp_path_factory, small_run, data):
    """With a checksum that is right: someone wrote it so."""
    folder = tmp_path_factory.getbasetemp() / "mangled-run"
    if not folder.exists():
        copied(small_run, folder)
    info, _ = read_sealed(small_run / "run.json")
    info[data.draw(st.sampled_from([*info, "surprise"]))] = data.draw(ANYTHING.filter(lambda v: "date" not in repr(v)))
    write_sealed(folder / "run.json", info)
    with suppress(RunError, SpecError):  # anything else is a failure
        _ = open_run(folder).dataset
