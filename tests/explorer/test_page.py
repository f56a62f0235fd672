"""The explorer's page holds the run's numbers, rounded as it says, and nothing that a browser would send or execute."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import map_axes, plain_spec, run_command, small_spec
from page_reader import Parsed, read

import tmsjax
from tmsjax import analysis, cli, explorer, theory
from tmsjax.errors import RunError, SpecError
from tmsjax.explorer import cells, content, models, pack, results
from tmsjax.explorer import page as pages
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import load_spec, to_toml
from tmsjax.spec.tables import to_dict

SOURCES = Path(explorer.__file__).parent / "page"
MODULES = sorted(p.stem for p in SOURCES.glob("*.js"))
FORBIDDEN = (
    "innerHTML|outerHTML|insertAdjacentHTML|document.write|eval(|Function(|fetch(|XMLHttpRequest|WebSocket|sendBeacon|"
    'await import(|setAttribute("style|localStorage|document.cookie'
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A stored map of 4 x 5 cells x 3 replicas with exact optima. Its axes are in the order (x, y)."""
    study = {"kind": "phase-map", "y": "extra_importance", "x": "feature_probability"}
    out = tmp_path_factory.mktemp("explored") / "run"
    run_sweep(small_spec(axes=map_axes(4, 5, 3), study=study, train={"steps": 400}), out)
    analysis.compare(out)
    return open_run(out)


@pytest.fixture(scope="module")
def shown(run):
    return read(explorer.explore(run))


def as_cells(values, *rest: str) -> np.ndarray:
    """A variable as (*rest, cells), with cells in the order of the page."""
    placed = values.transpose(*rest, "extra_importance", "feature_probability").to_numpy()
    return placed.reshape(*placed.shape[: len(rest)], -1)


def test_the_page_has_the_phases_of_every_rule_exactly(run, shown):
    about, arrays = shown
    assert about["rules"] == ["best", "paper", "vote"]
    assert [a["name"] for a in about["axes"]] == ["extra_importance", "feature_probability"]
    for rule in about["rules"]:
        mapped = analysis.phase_map(run, rule)
        assert np.array_equal(arrays[f"phase_{rule}"], as_cells(mapped["phase"]))
        for name in ("norm", "superposition"):
            off = np.abs(arrays[f"{name}_{rule}"] - as_cells(mapped[name], "feature"))
            assert off.max() <= about["errors"]["maps"] * 1.001
    assert len(np.unique(arrays["phase_best"])) > 1


def test_the_page_has_every_model_within_the_stated_error(run, shown):
    about, arrays = shown
    dataset = run.dataset
    assert about["kept"] == "all"
    assert about["errors"]["weights"] < 1e-4
    for name, rest in (("W", ("replica", "hidden", "feature")), ("b", ("replica", "feature"))):
        expected = as_cells(dataset[name], *rest)
        assert arrays[f"model.{name}"].shape == expected.shape
        assert np.abs(arrays[f"model.{name}"] - expected).max() <= about["errors"]["weights"] * 1.001
    loss = as_cells(dataset["loss"], "replica").astype(float)
    excess = loss / loss.min(0) - 1
    off = np.abs(arrays["excess"] - excess) / (excess + pack.SMALLEST_EXCESS)
    assert off.max() <= about["errors"]["excess"] * 1.001
    assert np.array_equal(arrays["worst"] - 1, loss.argmax(0))
    assert np.allclose(arrays["loss"], loss.min(0), rtol=about["errors"]["losses"] * 1.001)
    assert np.array_equal(arrays["best"] - 1, loss.argmin(0))
    W = np.moveaxis(as_cells(dataset["W"], "replica", "hidden", "feature"), -1, 1)
    assert np.array_equal(arrays["phase"], analysis.phases_of(W, analysis.layout(run.spec)))


def test_the_page_has_the_theories(run, shown):
    about, arrays = shown
    exact = analysis.stored_exact_map(run)
    for name, phases in analysis.theory_phases(run.dataset, exact).items():
        assert np.array_equal(arrays[f"theory_{name}"], as_cells(exact["phase"].copy(data=phases)))
    assert about["theories"] == ["candidate", "exact"]
    error = about["errors"]
    expected = {"exact.W": as_cells(exact["W"], "hidden", "feature"), "exact.b": as_cells(exact["b"], "feature")}
    W = analysis.candidate_weights(run.dataset)
    expected["candidate.W"] = as_cells(exact["W"].copy(data=W), "hidden", "feature")
    for name, values in expected.items():
        assert np.abs(arrays[name] - values).max() <= error["weights"] * 1.001, name
    inputs = analysis.cell_inputs(run.dataset)
    losses = {"exact": exact["loss"], "candidate": exact["loss"].copy(data=theory.candidate_losses(*inputs).min(-1))}
    for name, values in losses.items():
        assert np.allclose(arrays[f"loss_{name}"], as_cells(values), rtol=error["losses"] * 1.001, atol=0), name
    ratio = as_cells(run.dataset["loss"].min("replica")).astype(float) / as_cells(exact["loss"]) - 1
    off = np.abs(arrays["excess_exact"] - np.maximum(ratio, 0)) / (np.maximum(ratio, 0) + pack.SMALLEST_EXCESS)
    assert off.max() <= error["excess"] * 1.001


def test_a_region_is_the_same_part_of_the_whole(run, shown):
    region = {"extra_importance": (0.2, 4.0)}
    about, arrays = read(explorer.explore(run, region=region))
    assert about["region"] == {"extra_importance": [0.2, 4.0]}
    whole, W = shown[1]["phase_best"].reshape(5, 4), shown[1]["model.W"].reshape(3, 1, 2, 5, 4)
    assert np.array_equal(arrays["phase_best"].reshape(-1, 4), whole[1:4])
    assert np.allclose(arrays["model.W"], W[..., 1:4, :].reshape(3, 1, 2, -1), atol=1e-4)
    with pytest.raises(SpecError, match="no axis of the map has this name"):
        explorer.explore(run, region={"importance": (0, 1)})


def test_large_runs_keep_the_best_model_of_a_cell_or_none(run, shown, monkeypatch):
    monkeypatch.setattr(models, "MOST_VALUES", 20 * 5 * 2)
    about, arrays = read(explorer.explore(run))
    assert about["kept"] == "best"
    W = shown[1]["model.W"]
    winner = shown[1]["best"] - 1
    assert np.allclose(arrays["model.W"][0], np.take_along_axis(W, winner[None, None, None], 0)[0], atol=1e-4)
    assert np.array_equal(arrays["phase"][0], shown[1]["phase_best"])
    monkeypatch.setattr(models, "MOST_VALUES", 20)
    about, arrays = read(explorer.explore(run))
    assert about["kept"] == "none"
    assert not any("." in name for name in arrays)
    assert np.array_equal(arrays["phase_vote"], shown[1]["phase_vote"])


@pytest.mark.slow
def test_very_large_runs_are_pixels_of_one_rule(tmp_path, monkeypatch):
    raw = small_spec(axes={"feature_probability": {"log": [1.0, 0.1], "count": 1001}, "replica": {"count": 1}})
    run = run_sweep(raw | {"train": {"steps": 1, "batch": 4}}, tmp_path / "run")
    monkeypatch.setattr(content, "MOST_CELLS", 3000)
    about, arrays = read(explorer.explore(run, select="single"))
    assert about["pixel"] == {"feature_probability": 2, "extra_importance": 1}
    assert about["rules"] == ["single"]
    trained, _, _ = analysis.plotted(run, "single")
    assert np.array_equal(arrays["phase_single"], trained["phase"].to_numpy().reshape(-1))
    assert len(about["axes"][0]["edges"]) == 502
    few = run_sweep(small_spec(), tmp_path / "few")
    monkeypatch.setattr(content, "MOST_CELLS", 5)
    with pytest.raises(RunError, match="has 6 cells; at most 5 cells are shown one by one; choose a part"):
        explorer.explore(few)


def test_a_small_budget_costs_bits(run, monkeypatch):
    precise = explorer.explore(run)
    monkeypatch.setattr(pages, "MOST_BYTES", len(precise.text) - 100)
    rough = explorer.explore(run)
    assert len(rough.text) <= pages.MOST_BYTES
    errors = [read(page)[0]["errors"]["weights"] for page in (precise, rough)]
    bits = [read(page)[0]["models"]["model.W"]["bits"] for page in (precise, rough)]
    assert bits[0] == 16
    assert bits[1] in pages.BITS[1:]
    assert errors[1] / errors[0] == pytest.approx(2.0 ** (bits[0] - bits[1]), rel=0.05)


def test_results_of_only_the_best_replica(tmp_path):
    run = run_sweep(small_spec(store={"keep": "best"}), tmp_path / "run")
    about, arrays = read(explorer.explore(run))
    assert about["best_only"]
    assert about["rules"] == ["best"]
    assert arrays["model.W"].shape == (1, 1, 2, 6)
    assert np.allclose(arrays["success"], run.dataset["successes"].to_numpy().reshape(-1) / 2, atol=1e-3)


def test_diverged_models_are_missing_and_masked(run):
    dataset = run.dataset.copy(deep=True)
    dataset["status"][0, 0, :] = 1
    dataset["status"][1, 2, 0] = 1
    dataset["loss"][1, 2, 0] = np.nan
    damaged = type(run)(run.spec, None, dataset)
    _, arrays = read(explorer.explore(damaged))
    assert arrays["phase_best"].reshape(5, 4)[0, 0] == results.NOTHING
    assert arrays["best"].reshape(5, 4)[0, 0] == 0
    assert arrays["failed"].reshape(5, 4)[0, 0] == 3
    assert np.isnan(arrays["model.W"].reshape(3, 2, 5, 4)[:, :, 0, 0]).all()
    assert np.isnan(arrays["model.W"].reshape(3, 2, 5, 4)[0, :, 2, 1]).all()
    assert np.isfinite(arrays["model.W"].reshape(3, 2, 5, 4)[1:, :, 2, 1]).all()
    assert arrays["phase"].reshape(3, 5, 4)[0, 2, 1] == results.NOTHING


@pytest.mark.parametrize(
    ("kind", "view"),
    [("vectors", "line"), ("geometry", "line"), ("norms", "line"), (None, "line"), ("phase-map", "map")],
)
def test_the_view_follows_the_study(kind, view):
    raw = plain_spec(5, 2, probability="feature_probability")
    raw["axes"] = {"feature_probability": {"values": [0.05, 1.0, 0.3]}, "replica": {"count": 2}}
    if kind == "phase-map":
        raw["axes"] = {"learning_rate": {"values": [0.01, 0.02]}, **raw["axes"]}
        raw["train"]["learning_rate"] = "learning_rate"
    raw["study"] = {} if kind is None else {"kind": kind}
    about, arrays = read(explorer.explore(run_sweep(raw)))
    assert about["view"] == view
    assert ("component" in arrays) == (kind == "geometry")


def test_a_geometry_study_has_the_feature_graph_of_every_model():
    raw = plain_spec(5, 2, probability="feature_probability", study={"kind": "geometry"})
    raw["axes"] = {"feature_probability": {"values": [0.05, 1.0, 0.3]}, "replica": {"count": 2}}
    run = run_sweep(raw)
    about, arrays = read(explorer.explore(run))
    for k, replica in np.ndindex(3, 2):
        model = run.dataset.isel(feature_probability=k, replica=replica)
        parts, kinds = analysis.component_kinds(model["W"].transpose("hidden", "feature").to_numpy().astype(float))
        expected = {tuple(sorted(map(int, part))) for part in parts}
        component = arrays["component"][replica, :, k]
        assert {tuple(np.flatnonzero(component == c).tolist()) for c in set(component) - {0}} == expected
        assert np.array_equal(arrays["polytope"][replica, :, k], kinds)
    assert arrays["polytope"].max() < len(about["colours"]["polytope_names"])


@pytest.mark.slow
def test_recorded_measures_become_learning_curves():
    raw = plain_spec(3, 2, record={"measures": ["loss", "norm", "W"], "steps": [0, 10, 30]})
    run = run_sweep(raw)
    about, arrays = read(explorer.explore(run))
    assert about["history"]["steps"] == [0, 10, 30]
    assert list(about["history"]["measures"]) == ["loss", "norm"]
    expected = run.dataset["history_loss"].transpose("replica", "step").to_numpy()
    assert np.allclose(arrays["history_loss"][..., 0], expected, rtol=2e-3)
    norms = run.dataset["history_norm"].transpose("replica", "feature", "step").to_numpy()
    assert np.allclose(arrays["history_norm"][..., 0], norms, atol=1e-3)


@pytest.mark.slow
def test_models_without_directions_have_parameters_and_losses():
    raw = plain_spec(4, 1)
    raw["model"] |= {"family": "attention-score", "activation": "linear"}
    about, arrays = read(explorer.explore(run_sweep(raw)))
    assert not about["mapped_phases"]
    assert list(about["parameters"]) == ["QK"]
    assert "phase_best" not in arrays
    assert np.isfinite(arrays["loss"]).all()


def test_the_policy_allows_just_the_texts_of_the_page(run):
    parsed = Parsed(explorer.explore(run).text)

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    scripts, styles = (" ".join(map(source, texts)) for texts in (parsed.executed, parsed.styles))
    assert len(parsed.executed) == 2
    assert parsed.policy == (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'"
    )
    for tag, attributes in parsed.tags:
        assert "src" not in attributes, tag
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert attributes.get("href", "#").startswith("#"), tag


def test_modules_are_one_script_without_dangerous_calls():
    order = pages.in_order("main")
    assert sorted(order) == MODULES
    script = pages._script()
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    names = [n for m in MODULES for n in re.findall(DECLARED, (SOURCES / f"{m}.js").read_text(), re.MULTILINE)]
    assert len(names) > 80
    assert sorted(names) == sorted(set(names)), "two modules declare the same name"
    for module in MODULES:
        text = (SOURCES / f"{module}.js").read_text()
        for word in FORBIDDEN.split("|"):
            assert word not in text, f"{module}.js: {word}"


DECLARED = r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)"


def test_modules_that_import_each_other_are_refused(monkeypatch):
    texts = {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'}
    monkeypatch.setattr(pages, "_source", texts.__getitem__)
    with pytest.raises(ValueError, match="a -> b -> a"):
        pages.in_order("a")


def test_strings_of_a_spec_cannot_leave_the_data():
    hostile = "</script><script>alert(1)</script>"
    raw = plain_spec(2, 1, probability="p")
    raw["axes"] = {"case": {"values": [hostile, "<img src=x onerror=alert(1)>"]}}
    raw["instance"] = {"feature_probability": {"select": "case", "of": [0.1, 0.2]}}
    page = explorer.explore(run_sweep(raw))
    parsed = Parsed(page.text)
    assert json.loads(parsed.data["about"])["axes"][0]["values"][0] == hostile
    assert "alert(1)" not in "".join(parsed.executed)
    assert hostile not in page.text
    assert "<img" not in page.text


def test_a_notebook_shows_the_page_in_a_frame(run):
    page = run.explore(select="vote")
    assert page.text == explorer.explore(run, select="vote").text
    (frame,) = [attributes for tag, attributes in Parsed(page._repr_html_()).tags if tag == "iframe"]
    assert frame["srcdoc"] == page.text
    assert frame["sandbox"] == "allow-scripts"
    assert "MB" in repr(page)


def test_reading_a_run_for_a_page_needs_no_jax(run):
    code = f"import sys, tmsjax; tmsjax.explore({str(run.directory.path)!r}); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_writes_the_page(run, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(cli.webbrowser, "open", lambda url: opened.append(url) or len(opened) < 2)
    path = run.directory.path
    done = run_command("explore", path)
    assert done.stdout == f"{path}/explorer.html ({(path / 'explorer.html').stat().st_size / 1e6:.1f} MB)\n"
    assert (path / "explorer.html").read_text() == explorer.explore(run).text
    cli.explore(str(path), out=tmp_path / "a b.html", select="paper", region=["extra_importance=1:10"], open_=True)
    assert opened == [(tmp_path / "a b.html").as_uri()]
    cli.explore(str(path), region=["extra_importance=1:10"], open_=True)
    told = capsys.readouterr()
    assert "explorer-region.html" in told.out
    assert told.err == "warning: found no browser to open it with\n"


def test_a_page_of_a_run_in_an_object_store_stands_beside_it(capsys):
    upath = pytest.importorskip("upath")
    url = "memory://pages-of-tests/run"
    run_sweep(small_spec(), url)
    cli.explore(url)
    written = upath.UPath(f"{url}/explorer.html").read_text(encoding="utf-8")
    assert written == explorer.explore(url).text
    assert capsys.readouterr().out == f"{url}/explorer.html ({len(written) / 1e6:.1f} MB)\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--select", "bset"], "--select: 1 problem\n  'bset' is not known; did you mean 'best'?"),
        (["--region", "extra_importance"], "needs AXIS=LOW:HIGH"),
        (["--region", "extra_importance=20:30"], "no value between 20 and 30"),
        (["--out", "/dev/null/x.html"], "/dev/null/x.html: cannot be written"),
    ],
)
def test_bad_options_are_told(run, options, message):
    done = run_command("explore", run.directory.path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unfinished_run_and_an_unknown_rule_are_refused(tmp_path, run):
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}")):
        explorer.explore(tmp_path)
    with pytest.raises(ValueError, match="select = 'worst' is not known"):
        explorer.explore(run, select="worst")


def test_replicas_of_different_inputs_are_not_ranked():
    raw = plain_spec(3, 2)
    raw["instance"]["importance"] = {"linear": [1, 0.1], "permute": "replica"}
    run = run_sweep(raw)
    about, arrays = read(explorer.explore(run))
    assert not about["comparable"]
    assert "success" not in arrays
    assert arrays["best"].item() - 1 == int(run.dataset["loss"].to_numpy().argmin())


def test_losses_of_zero_are_ranked(run):
    dataset = run.dataset.copy(deep=True)
    dataset["loss"][0, 0] = [0.0, 0.5, 0.0]
    _, arrays = read(explorer.explore(type(run)(run.spec, None, dataset)))
    assert arrays["loss"].reshape(5, 4)[0, 0] == 0
    assert arrays["excess"].reshape(3, 5, 4)[[0, 2], 0, 0].tolist() == [0, 0]
    assert arrays["excess"].reshape(3, 5, 4)[1, 0, 0] == pytest.approx(cells.MOST_ABOVE, rel=1e-3)


def test_an_axis_of_one_value_gives_way(run):
    about, arrays = read(explorer.explore(run, region={"feature_probability": (1.0, 1.0)}))
    assert about["view"] == "line"
    assert [a["name"] for a in about["axes"]] == ["feature_probability", "extra_importance"]
    whole = analysis.phase_map(run)["phase"].isel(feature_probability=0).to_numpy()
    assert np.array_equal(arrays["phase_best"], whole)


def test_a_users_study_says_how_the_page_shows_its_runs(registries, run):
    for kind, options, view in (("mine", {}, "map"), ("points", {"view": "line"}, "line")):
        tmsjax.add_study(kind, lambda run: {}, **options)
        spec = load_spec(to_dict(run.spec) | {"study": {"kind": kind}})
        about, _ = read(explorer.explore(type(run)(spec, None, run.dataset.assign_attrs(spec=to_toml(spec)))))
        assert (about["study"], about["view"], about["flat"]) == (kind, view, view == "line")


def test_results_that_lack_a_variable_are_damaged(run):
    for name in ("W", "loss", "instance_importance"):
        damaged = type(run)(run.spec, None, run.dataset.drop_vars(name))
        with pytest.raises(RunError, match=f"damaged: its results have no {name}"):
            explorer.explore(damaged)


@pytest.mark.slow
def test_parameters_with_the_names_of_arrays_do_not_collide(registries):
    tmsjax.add_family(
        "colliding-of-a-test",
        parameters={"excess": ("hidden", "feature"), "component": ("feature",)},
        apply=lambda params, x, f: f(params["excess"].T @ (params["excess"] @ x) + params["component"]),
    )
    raw = plain_spec(2, 1)
    raw["model"]["family"] = "colliding-of-a-test"
    about, arrays = read(explorer.explore(run_sweep(raw)))
    assert about["parameters"] == {"excess": [1, 2], "component": [2]}
    assert arrays["model.excess"].shape == (4, 1, 2, 1)
    assert arrays["excess"].shape == (4, 1)
