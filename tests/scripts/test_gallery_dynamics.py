"""Statements of docs/gallery.md on learning dynamics follow from its numbers, and a small training shows the stages."""

import json

import numpy as np
import pytest
from conftest import ROOT, plain_spec
from PIL import Image

from tmsjax.analysis import dynamics
from tmsjax.runs import run_sweep

FOUND = json.loads((ROOT / "docs" / "gallery.json").read_text())["dynamics"]
ANIMATION = ROOT / "docs" / "figures" / "gallery" / "dynamics_6_3_dynamics_animation.gif"


def test_the_loss_drops_where_dimensionalities_jump():
    found = FOUND["levels"]
    assert found["in_jumps"] > 5 * found["by_chance"]
    assert found["largest_in_jump"] == 7
    assert found["least_in_jump"] > 3 * found["largest_elsewhere"]
    for row in found["seeds"]:
        assert row["late_jumps"] == len(row["late_steps"])
        assert all(start >= row["first_step"] for start, _ in row["late_steps"])
        assert row["decrease_in_jumps"] == pytest.approx(row["in_jumps"] * row["late_decrease"])


def test_features_end_at_two_levels_and_the_last_pair_is_formed_in_jumps():
    found = FOUND["levels"]
    assert found["levels"]["0"] + found["levels"]["1/2"] > 0.99
    assert sorted(found["digons"]) == [9] + [10] * 7
    assert found["paired_at_first"] == [17, 18]
    for row, digons in zip(found["seeds"], found["digons"], strict=True):
        second = [before < 0.1 and after > 0.4 for before, after in row["late_levels"]]
        assert sum(second) == (digons == 10), "a feature jumps from 0 to 1/2"
        assert row["highest"] > 0.6


def test_small_weights_go_through_the_papers_stages_and_large_ones_do_not_collapse():
    small, large = (FOUND["octahedron"][f"scale_{k}"] for k in (0, 1))
    assert [small["scale"], large["scale"]] == pytest.approx([0.05, 0.47])
    stages = {row["stage"]: row for row in small["stages"]}
    assert list(stages) == list(dynamics.STAGES)
    assert (np.diff([row["begins"] for row in small["stages"]]) > 0).all()
    assert (np.diff([row["loss"] for row in small["stages"]]) < 0).all()
    assert stages["splitting"]["loss"] > 5 * stages["splitting"]["last_loss"]
    assert stages["orthogonal sets"]["axes"] < -0.9
    assert small["octahedron"] == small["three_digons"] == 1
    assert large["octahedron"] == large["three_digons"] > 0.8
    assert [row["share"] for row in large["stages"] if row["stage"] == "collapsed"] == [0]
    assert sum(small["ways"].values()) == pytest.approx(1)


def test_the_published_animation_is_small():
    assert ANIMATION.stat().st_size < 600_000
    with Image.open(ANIMATION) as image:
        assert image.format == "GIF"
        assert image.n_frames == 80


@pytest.mark.slow
def test_a_small_training_collapses_first_and_ends_as_an_octahedron():
    raw = plain_spec(6, 3, probability=0.03, instances=3, data={"activity": "groups", "size": 3})
    raw["instance"]["init_scale"] = 0.05
    raw["train"] = {"steps": 4000, "batch": 256, "learning_rate": 3e-3}
    raw["record"] = {"measures": ["W"], "steps": [30, 60, 120, 250, 4000]}
    W = run_sweep(raw).dataset["history_W"].transpose("replica", "step", "hidden", "feature").to_numpy().astype(float)
    for path in W:
        named = [dynamics.STAGES[k] for k in dynamics.stages(path, 3)]
        assert "collapsed" in named[:-1]
        assert named[-1] == "octahedron"
