"""Specs: meaning, TOML round trips, and errors that list every problem."""

import math
import tomllib

import numpy as np
import pytest
from conftest import small_spec

import tmsjax
from tmsjax.errors import SpecError
from tmsjax.spec import difference, html, load_spec, stored_spec, to_toml
from tmsjax.spec.tables import to_dict


def problems(raw: dict, overrides=()) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        load_spec(raw, overrides)
    return dict(caught.value.problems)


def test_axes_multiply_in_the_order_of_the_file(small):
    spec = load_spec(small)
    assert spec.shape == (2, 3, 2)
    assert spec.instances == 12
    assert spec.axis["feature_probability"].values == (1.0, 0.1)
    np.testing.assert_allclose(spec.axis["extra_importance"].values, [0.1, 1.0, 10.0], rtol=1e-15)
    assert spec.axis["replica"].values == (0, 1)
    assert spec.map_axes == ("feature_probability", "extra_importance")
    assert spec.mapped_feature == 1


def test_quantities_broadcast_over_axes_and_features(small):
    spec = load_spec(small)
    importance = np.broadcast_to(spec.evaluate("importance"), (2, 3, 2, 2))
    np.testing.assert_allclose(importance[1, :, 0, 0], 1.0)
    np.testing.assert_allclose(importance[1, :, 1, 1], [0.1, 1.0, 10.0])


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0.5, [0.5, 0.5, 0.5]),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ({"geometric": [1.0, 0.01]}, [1.0, 0.1, 0.01]),
        ({"linear": [1.0, 0.5]}, [1.0, 0.75, 0.5]),
        ({"first": 0.8, "ratio": 0.5}, [0.8, 0.4, 0.2]),
        ({"mean": 0.2, "last_over_first": 0.25}, [0.4, 0.2, 0.1]),
        ({"sum": 1.1, "power": 1.0}, [0.6, 0.3, 0.2]),
        ({"sum": 0.3, "power": 0}, [0.1, 0.1, 0.1]),
        ({"sum": 0.7, "power": "p"}, [0.7 * v / (11 / 6) for v in (1, 1 / 2, 1 / 3)]),
        ({"linear": ["p", 0.5]}, [1.0, 0.75, 0.5]),
        (["p", 0.2, 0.3], [1.0, 0.2, 0.3]),
        ({"select": "case", "of": [0.7, [0.1, 0.2, 0.3]]}, [0.7, 0.7, 0.7]),
    ],
)
def test_forms_of_a_quantity(quantity, expected):
    raw = small_spec(model={"features": 3})
    raw["axes"] = {"p": {"values": [1.0, 0.5]}, "case": {"values": ["a", "b"]}}
    importance = {"select": "case", "of": [1.0, 2.0]}
    raw["instance"] = {"feature_probability": quantity, "importance": importance, "init_scale": "p"}
    values = np.broadcast_to(load_spec(raw).evaluate("feature_probability"), (2, 2, 3))
    np.testing.assert_allclose(values[0, 0], expected, rtol=1e-12)


def test_select_takes_the_second_option_at_the_second_value():
    raw = small_spec()
    raw["axes"]["replica"] = {"count": 2}
    raw["instance"]["feature_probability"] = {"select": "replica", "of": ["feature_probability", [0.2, 0.4]]}
    values = np.broadcast_to(load_spec(raw).evaluate("feature_probability"), (2, 3, 2, 2))
    np.testing.assert_allclose(values[1, 0], [[0.1, 0.1], [0.2, 0.4]])


def test_permuted_curves_keep_their_values_and_change_with_the_replica():
    raw = small_spec(model={"features": 8})
    raw["axes"] = {"replica": {"count": 5}}
    raw["instance"] = {"feature_probability": {"geometric": [1.0, 0.02], "permute": "replica"}}
    values = load_spec(raw).evaluate("feature_probability")
    np.testing.assert_allclose(np.sort(values, axis=-1)[:, ::-1], np.geomspace(1.0, 0.02, 8)[None].repeat(5, 0))
    assert len({tuple(row) for row in values}) == 5
    raw["axes"] = {"replica": {"count": 9}}
    np.testing.assert_array_equal(load_spec(raw).evaluate("feature_probability")[:5], values)


def test_xavier_is_that_of_one_model():
    spec = load_spec(small_spec(instance={"init_scale": "xavier"}))
    assert spec.evaluate("init_scale").item() == pytest.approx(math.sqrt(2 / 3))


def test_a_spec_survives_toml(small):
    small["instance"]["feature_probability"] = {"first": "feature_probability", "ratio": 0.5, "permute": "replica"}
    small["instance"]["init_scale"] = {"select": "case", "of": [0.1, 0.2, 0.3]}
    small["axes"]["case"] = {"values": ["😀", 'a "b"', "c\\d"]}
    spec = load_spec(small)
    again = load_spec(tomllib.loads(to_toml(spec)))
    assert again == spec
    assert again.hash == spec.hash
    assert load_spec(to_dict(spec)) == spec


def test_adamw_decays_weights_as_in_the_notebook_unless_told_otherwise(small):
    assert load_spec(small, ["train.optimizer=adamw"]).train.weight_decay == 0.01
    assert load_spec(small, ["train.optimizer=adamw", "train.weight_decay=0"]).train.weight_decay == 0
    assert load_spec(small).train.weight_decay == 0


def test_only_the_decay_that_draws_norms_to_1_may_be_negative(small):
    small["axes"]["decay"] = {"values": [-1.0, 1.0]}
    small["train"]["weight_decay"] = "decay"
    small["train"]["optimizer"] = "adamw"
    assert "at least 0; got -1.0 for decay = -1.0" in problems(small)["train.weight_decay"]
    small["train"]["optimizer"] = "adamw-norm"
    assert load_spec(small).evaluate("weight_decay").min() == -1
    small["axes"]["decay"]["values"] = [-1e39, 1.0]
    assert "that is finite" in problems(small)["train.weight_decay"]
    small["axes"]["decay"]["values"] = [-1.0, 1.0]
    small["model"] = {**small["model"], "family": "absolute-value", "neurons": 2}
    assert "'adamw-norm': needs a family whose output is" in problems(small)["train.optimizer"]


def test_overrides_go_through_the_same_checks(small):
    assert load_spec(small, ["train.steps=99", "train.optimizer=sgd"]).train.steps == 99
    assert "needs a whole number" in problems(small, ["train.steps=many"])["train.steps"]
    assert "an override is" in problems(small, ["train"])["--set 'train'"]


def test_difference_names_the_keys(small):
    other = load_spec(small, ["train.steps=31", "checkpoint.keep=5"])
    assert difference(load_spec(small), other) == ["train.steps: 30 -> 31"]


def bad(table: str, key: str, value, where: str | None = None, said: str = ""):
    return pytest.param(table, key, value, where or f"{table}.{key}", said, id=f"{table}.{key}={value!r:.40}")


@pytest.mark.parametrize(
    ("table", "key", "value", "where", "said"),
    [
        bad("train", "optimzer", "adam", said="did you mean 'optimizer'?"),
        bad("train", "optimizer", "adagrad", said="allowed: 'adam'"),
        bad("train", "steps", 0, said="in [1, "),
        bad("train", "steps", 1.5, said="whole number"),
        bad("train", "steps", True, said="whole number"),
        bad("train", "batch", "64", said="whole number"),
        bad("train", "learning_rate", -1.0, said="at least 0"),
        bad("train", "learning_rate", float("nan"), said="finite"),
        bad("train", "learning_rate", [1.0, 2.0], said="single value"),
        bad("train", "weight_decay", 0.1, said="does not use it; drop it, or use adamw, adamw-norm, sgd"),
        bad("train", "momentum", 0.9, said="or use sgd, rmsprop"),
        bad("model", "features", -2, said="in [1, "),
        bad("model", "activation", "Relu", said="did you mean 'relu'?"),
        bad("model", "hidden", None, said="whole number"),
        bad("instance", "feature_probability", 0.0, said="in (0, 1]"),
        bad("instance", "feature_probability", 1.1, said="in (0, 1]"),
        bad("instance", "feature_probability", "feature_probabilty", said="did you mean 'feature_probability'?"),
        bad("instance", "feature_probability", {"geometric": [1.0]}, "instance.feature_probability.geometric"),
        bad("instance", "feature_probability", {"cubic": [1.0, 0.1]}, said="geometric"),
        bad("instance", "importance", [1.0, "extra_importance", 2.0], said="a list of 3 values"),
        bad("instance", "importance", [], said="empty"),
        bad("instance", "importance", [-1.0, "extra_importance"], said="at least 0"),
        bad("instance", "init_scale", "xaver", said="did you mean 'xavier'?"),
        bad("axes", "unused", {"count": 3}, said="no quantity names this axis"),
        bad("axes", "replica", {"count": 0}, "axes.replica.count", "in [1, "),
        bad("axes", "replica", {"count": 10**9}, "axes.replica.count", "in [1, "),
        bad("axes", "replica", {"values": []}, "axes.replica.values", "at least one value"),
        bad("axes", "replica", {"values": [1, 1]}, "axes.replica.values", "twice"),
        bad("axes", "replica", {"kount": 3}, said="an axis is"),
        bad("axes", "extra_importance", {"log": [0.0, 1.0], "count": 3}, "axes.extra_importance.log", "positive"),
        bad("axes", "Replica", {"count": 2}, said="needs a-z"),
        bad("axes", "feature", {"count": 2}, said="reserved"),
        bad("axes", "history_loss", {"count": 2}, said="reserved"),
        bad("axes", "phase", {"count": 2}, said="reserved"),
        bad("instance", "feature_probability", 1e-50, said="in (0, 1]"),
        bad("model", "hidden", 10**22, said="whole number"),
        bad("record", "steps", [31], said="beyond train.steps"),
        bad("record", "measures", ["los"], said="'loss'"),
        bad("study", "x", "importance", said="no axis is named"),
        bad("study", "feature", 2, said="from 0 to 1"),
        bad("engine", "microbatch", 5, said="divisor"),
        bad("data", "activity", "pairs", said="'tied'"),
        bad("data", "activity", ["tied"], said="'tied'"),
        bad("train", "learning_rate", 10**400, said="finite"),
        bad("train", "steps", 10**400, said="whole number"),
        bad("instance", "importance", {"linear": [1, 0.1], "permute": ["replica"]}, "instance.importance.permute"),
    ],
)
def test_bad_input_names_key_value_and_what_is_allowed(small, table, key, value, where, said):
    small.setdefault(table, {})[key] = value
    found = problems(small)
    assert where in found
    assert said in found[where]


def test_sobol_streams_need_a_power_of_two_and_few_features(small):
    small["train"] |= {"streams": "sobol", "batch": 48}
    assert "power of two" in problems(small)["train.batch"]
    small["train"]["batch"] = "many"
    assert "whole number" in problems(small)["train.batch"]
    small["train"]["batch"] = 64
    assert load_spec(small).train.streams == "sobol"
    small["model"]["features"], small["instance"]["importance"] = 17, 1.0
    del small["axes"]["extra_importance"]
    assert "at least 4 x 17" in problems(small)["train.batch"]


def test_sobol_streams_count_the_columns_of_samplers_and_noise(small, registries):
    small["train"] |= {"streams": "sobol", "batch": 16}
    assert load_spec(small).train.batch == 16
    tied = {"parameters": {"W": ("hidden", "feature")}, "apply": lambda p, x, f, noise: p["W"].T @ (p["W"] @ x)}
    tmsjax.add_family("noisy", **tied, noise=lambda n: n + 1)
    noisy = {**small, "model": {**small["model"], "family": "noisy"}}
    assert "at least 4 x 5" in problems(noisy)["train.batch"]
    tmsjax.add_sampler("wide", columns=lambda n: 3 * n, sample=lambda u, p: u[:2])
    assert "at least 4 x 6" in problems({**small, "data": {"sampler": "wide"}})["train.batch"]


def test_options_of_files_that_are_not_executed_may_have_any_form(small, registries, tmp_path):
    """Their types are known only after the files that a spec imports were executed."""
    option = 'options={"size": tmsjax.Option("TYPE")})'
    added = f'tmsjax.add_sampler("own", columns=lambda n: n, sample=lambda u, p, size: u, {option}'
    small["axes"]["k"] = {"values": [1.0, 2.0]}
    small["data"] = {"sampler": "own"}
    forms = {
        "features": [{"geometric": [1.0, "k"]}, [1.0, "k"], "k", {"select": "k", "of": [1.0, [1.0, 2.0]]}],
        "numbers": [[1.0], [[1.0, 2.0], [3.0, 4.0]]],
        "path": ["some.npy"],
        "paths": ["one", ["one", "two"]],
    }
    for k, (kind, values) in enumerate(forms.items()):
        file = tmp_path / f"own{k}.py"
        file.write_text(f"import tmsjax\n{added.replace('TYPE', kind).replace('own', f'own-{k}')}\n")
        small |= {"imports": [str(file)], "data": {"sampler": f"own-{k}"}}
        if kind not in ("features",):
            small["axes"].pop("k", None)
        for value in values:
            small["data"]["size"] = value
            before = load_spec(small)
            after = load_spec(small, imports=True)
            assert before.hash == after.hash, (kind, value)
            assert stored_spec(to_toml(after), "run").hash == after.hash


def test_what_a_misfit_raises_is_a_problem_of_the_spec(small, registries):
    tmsjax.add_init("own", lambda params, instance: params, misfit=lambda spec: 1 / 0)
    small["init"] = {"rule": "own"}
    assert problems(small)["init.rule"] == "'own': misfit fails (ZeroDivisionError: division by zero)"
    small["init"] = {"rule": "polygon"}
    small["model"]["hidden"] = 2
    assert problems(small) == {"init.polygon": "is missing: number of its corners"}


def test_lists_of_numbers_have_limits(small, registries):
    low = tmsjax.Option("numbers", low=0.0)
    tmsjax.add_sampler("own", columns=lambda n: n, sample=lambda u, p, at: u, options={"at": low})
    small["data"] = {"sampler": "own", "at": [[0.0, 1.0], [0.5, -0.5]]}
    assert "needs numbers of at least 0.0" in problems(small)["data.at"]


def test_descriptions_name_the_sampler_and_the_loss(small):
    small |= {"data": {"sampler": "shared-masks", "masks": 4}, "loss": {"kind": "power", "exponent": 3.0}}
    facts = html.description(load_spec(small))
    assert facts["data"] == "shared-masks, independent activity, uniform values (masks = 4)"
    assert facts["training"].endswith("cosine schedule, power loss (exponent = 3.0)")
    small["data"], small["axes"] = {"file": "rows.npy"}, {"extra_importance": {"values": [1.0]}}
    del small["instance"]["feature_probability"]
    assert html.description(load_spec(small))["data"] == "file (epochs = 0, file)"


def test_all_problems_come_at_once(small):
    small["train"]["optimzer"] = "adam"
    small["model"]["hidden"] = 0
    small["instance"]["feature_probability"] = 1.5
    small["axes"]["unused"] = {"count": 2}
    small["study"] = {"x": ["a"]}
    del small["name"]
    keys = {"train.optimzer", "model.hidden", "instance.feature_probability", "axes.unused", "study.x", "name"}
    assert keys <= set(problems(small))


def test_missing_tables_and_wrong_shapes():
    found = problems({"name": "x", "model": 3, "axes": [1]})
    assert {"model", "axes", "train.steps", "instance.feature_probability"} <= set(found)


def test_exact_loss_is_refused_where_none_is_known(small):
    small["train"]["loss"] = "exact"
    assert load_spec(small).exact_loss == "relu"
    small["model"]["features"] = 4
    small["instance"]["importance"] = 1.0
    small["axes"].pop("extra_importance")
    assert "no exact loss" in problems(small)["train.loss"]


def test_stratified_signs_and_masks_need_what_they_divide(small):
    small["init"], small["data"] = {"rule": "stratified"}, {"sampler": "shared-masks", "masks": 3}
    small["model"]["hidden"] = 2
    small["model"]["family"], small["init"]["bias_scale"] = "tied-no-bias", 0.5
    found = problems(small)
    assert "has no parameter b" in found["init.bias_scale"]
    assert "hidden = 1" in found["init.rule"]
    assert "divisor of train.batch = 16" in found["data.masks"]
    small["train"]["streams"], small["data"]["masks"] = "sobol", 2
    assert "'sobol' needs fresh samples" in problems(small)["train.streams"]
    small["train"] |= {"streams": "independent", "loss": "exact"}
    assert "drop it, or use 'sampled'" in problems(small)["data.sampler"]
    for replica in ({"count": 1}, {"values": [3.0, 5.0]}):
        small["axes"]["replica"] = replica
        assert "count = K" in problems(small)["init.rule"]


def test_unreadable_files_are_spec_errors(tmp_path):
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_spec(tmp_path / "absent.toml")
    for text in ("name = [", "seed = " + "9" * 5000):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(SpecError, match="not valid TOML"):
            load_spec(tmp_path / "bad.toml")


def test_nesting_has_an_end(small):
    with pytest.raises(SpecError):
        load_spec(small, ["instance.importance=" + "[" * 20000])
    deep: object = 1.0
    for _ in range(2000):
        deep = {"select": "replica", "of": [deep, 1.0]}
    small["instance"]["importance"] = deep
    with pytest.raises(SpecError, match="nested too deeply"):
        load_spec(small)


def test_a_value_out_of_range_is_told_with_its_feature_and_cell(small):
    small["axes"]["spread"] = {"values": [1.0, 100.0]}
    small["instance"]["feature_probability"] = {"mean": 0.5, "last_over_first": "spread"}
    small["axes"].pop("feature_probability")
    with pytest.raises(SpecError, match=r"needs numbers in \(0, 1\]; got 5.0 for feature 1, spread = 100.0"):
        load_spec(small)


def test_probabilities_and_axes_without_effect_are_refused(small):
    """Of 'one-hot' only ratios within a model matter; 'exactly-k' draws all features alike."""
    for activity in ("one-hot", "exactly-k"):
        small["data"] = {"activity": activity}
        assert "has no effect" in problems(small)["instance.feature_probability"]
    small["instance"]["feature_probability"] = [1.0, "feature_probability"]
    assert "needs one probability for all features" in problems(small)["instance.feature_probability"]
    small["data"] = {"activity": "one-hot"}
    assert load_spec(small).instances == 12
    small["axes"].pop("feature_probability")
    small["instance"].pop("feature_probability")
    assert load_spec(small).instance.feature_probability == 1.0


def test_sizes_of_sets(small):
    small["data"] = {"activity": "groups", "size": 3}
    assert "does not divide model.features = 2 (allowed: 1, 2)" in problems(small)["data.size"]
    small["data"]["size"] = "replica"
    assert "is an axis, which this key cannot name" in problems(small)["data.size"]
    small["data"] = {"activity": "grups", "size": 2}
    assert list(problems(small)) == ["data.activity"]


def test_a_quantity_too_large_to_hold_is_refused_without_building_it(small):
    axes = {name: {"linear": [0.1, 0.9], "count": 40_000} for name in ("u", "v")}
    small |= {"axes": axes, "instance": {"feature_probability": ["u", "v"]}}
    assert "3,200,000,000 values" in problems(small)["instance.feature_probability"]


def test_control_characters_are_written_out_in_messages(small):
    small["axes"]["a\x1b[31m"] = {"count": 2}
    with pytest.raises(SpecError) as caught:
        load_spec(small)
    assert "\x1b" not in str(caught.value)
    assert "axes.a\\x1b[31m" in str(caught.value)


def test_a_polygon_needs_the_plane_and_a_corner_for_every_feature(small):
    assert load_spec({**small, "init": {"polygon": 0}}).hash == load_spec(small).hash
    small["init"] = {"polygon_norm": 1.2, "polygon_bias": -0.1}
    assert {"init.polygon_norm", "init.polygon_bias"} <= problems(small).keys()
    small["init"] = {"rule": "polygon", "polygon": 2}
    assert "hidden = 2" in problems(small)["init.rule"]
    small["model"]["hidden"] = 2
    for wrong in (3, 1.5):
        small["init"]["polygon"] = wrong
        assert "whole numbers" in problems(small)["init.rule"]
    for wrong in (-1, [1, 2]):
        small["init"]["polygon"] = wrong
        assert "init.polygon" in problems(small)
    small["init"] = {"rule": "polygon", "polygon": "k", "polygon_norm": {"select": "k", "of": [1.0, 1.5]}}
    small["axes"]["k"] = {"values": [0, 2]}
    spec = load_spec(small)
    assert spec.hash != load_spec({**small, "init": {"rule": "polygon", "polygon": "k"}}).hash
    assert load_spec(tomllib.loads(to_toml(spec))) == spec
    small["model"]["family"], small["init"]["polygon_bias"] = "tied-no-bias", 0.5
    assert "has no parameter b" in problems(small)["init.polygon_bias"]
