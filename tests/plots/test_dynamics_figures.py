"""The study "dynamics": its figures, its animation as a GIF, and runs that it refuses."""

import numpy as np
import pytest
from conftest import plain_spec, run_command
from matplotlib.figure import Figure
from PIL import Image
from test_fitting_figures import recorded as with_history

from tmsjax import analysis, plots
from tmsjax.errors import RunError
from tmsjax.plots.animation import MOST_BYTES, Animation
from tmsjax.runs import Run, run_sweep

RECORDED = [0, 1, 2, 5, 10, 20, 30]


def recorded(features: int, hidden: int, measures=("loss", "W"), **changes):
    raw = plain_spec(features, hidden, record={"measures": list(measures), "steps": RECORDED}, **changes)
    return raw | {"study": {"kind": "dynamics"}}


def drawn_by_chance(raw: dict) -> Run:
    """A run of the spec, over replicas only, whose records were drawn and not trained."""
    dims = {"W": ("hidden", "feature"), "dimensionality": ("feature",)}
    return with_history(raw, RECORDED, **{name: dims[name] for name in raw["record"]["measures"] if name != "loss"})


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A short run of two cells of (6, 3) models with sets, in a directory."""
    sets, linear = {"activity": "groups", "size": 3}, {"activation": "linear"}  # whose exact loss is short
    raw = recorded(6, 3, data=sets, model=linear, instances=2)
    raw["axes"]["scale"] = {"values": [0.1, 0.5]}
    raw["instance"]["init_scale"] = "scale"
    return run_sweep(raw, tmp_path_factory.mktemp("space") / "run")


@pytest.mark.slow
def test_the_command_writes_a_gif_with_a_frame_per_record_beside_the_figures(space):
    done = run_command("plot", space.directory.path)
    assert done.returncode == 0, done.stderr
    folder = space.directory.path / "figures"
    assert {p.name for p in folder.iterdir()} == {"dynamics.png", "dynamics.svg", "dynamics_animation.gif"}
    with Image.open(folder / "dynamics_animation.gif") as image:
        assert image.format == "GIF"
        assert image.n_frames == len(RECORDED)
        assert image.info["loop"] == 0
        first = np.asarray(image.convert("RGB"))
        image.seek(image.n_frames - 1)
        assert (first != np.asarray(image.convert("RGB"))).any(), "frames differ"
    assert (folder / "dynamics_animation.gif").stat().st_size < MOST_BYTES


def test_panels_end_with_the_last_step_s_best_model_in_one_frame(space):
    drawn = plots.figures(space)
    best = analysis.best(space.dataset)
    for row in range(2):
        panels = [a for a in drawn["dynamics"].axes if "step" in a.get_title()]
        panel = [a for a in panels if a.get_title().endswith("step 30")][row]
        shown = np.array([line.get_xydata()[1] for line in panel.lines[-6:]])
        W = best["W"].isel(scale=row).transpose("hidden", "feature").to_numpy().astype(float)
        expected = plots.dynamics.view(analysis.dynamics.in_frame_of_last(W[None])[0])
        np.testing.assert_allclose(shown.T, expected, atol=1e-5)
    last = drawn["dynamics_animation"]
    last.draw(last.frames - 1)
    dots = [line.get_xydata() for line in last.figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_allclose([dot[0, 1] for dot in dots], best["history_loss"].isel(step=-1), rtol=1e-6)


def test_a_view_keeps_lengths_of_what_is_across_it():
    ends = plots.dynamics.view(np.eye(3))
    np.testing.assert_allclose(ends @ ends.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("hidden", [1, 2, 4])
def test_other_numbers_of_dimensions_are_drawn_too(hidden):
    drawn = plots.figures(drawn_by_chance(recorded(5, hidden, instances=1)))
    assert list(drawn) == ["dynamics", "dynamics_animation"]
    images = [image for axes in drawn["dynamics"].axes for image in axes.images]
    assert bool(images) == (hidden in (1, 4))
    drawn["dynamics_animation"].draw(3)


def test_recorded_dimensionalities_are_levels():
    run = drawn_by_chance(recorded(5, 2, ("loss", "dimensionality")))
    drawn = plots.figures(run)
    assert list(drawn) == ["levels"]
    top = drawn["levels"].axes[0]
    best = analysis.best(run.dataset)
    ends = [line.get_ydata()[-1] for line in top.lines]
    np.testing.assert_allclose(ends, best["history_dimensionality"].isel(step=-1), rtol=1e-6)


def test_a_run_without_records_is_refused_and_so_is_one_step():
    run = drawn_by_chance(recorded(4, 2))
    for dataset in (run.dataset.drop_vars("history_W"), run.dataset.isel(step=[6]), run.dataset.drop_dims("step")):
        with pytest.raises(RunError, match=r"the loss was not recorded with W or dimensionality over steps"):
            plots.figures(Run(run.spec, None, dataset), kind="dynamics")


def test_models_that_diverged_are_drawn_without_what_is_not_finite():
    run = drawn_by_chance(recorded(4, 2, ("loss", "W", "dimensionality")))
    for name in ("W", "loss", "dimensionality"):
        run.dataset[f"history_{name}"][:, 3] = np.inf
        run.dataset[f"history_{name}"][:, 4:] = np.nan
    run.dataset["status"][:] = 1
    drawn = plots.figures(run)
    assert list(drawn) == ["levels", "dynamics", "dynamics_animation"]
    assert drawn["dynamics"].axes[1].get_xlim()[1] < 3
    drawn["dynamics"].canvas.draw()
    drawn["dynamics_animation"].gif(30)


def noise(side: float) -> Animation:
    """Forty frames of noise, which hardly compress."""
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    rng = np.random.default_rng(0)
    image = axes.imshow(rng.uniform(size=(300, 300)), interpolation="nearest")
    return Animation(figure, lambda k: image.set_data(rng.uniform(size=(300, 300))), 8)


def test_a_large_animation_is_written_at_a_lower_resolution(tmp_path):
    noise(3).write(tmp_path / "high.gif", most=10**9)
    most = (tmp_path / "high.gif").stat().st_size // 2
    noise(3).write(tmp_path / "low.gif", most=most)
    assert (tmp_path / "low.gif").stat().st_size <= most
    with Image.open(tmp_path / "low.gif") as image:
        assert image.n_frames == 8


def test_an_animation_that_cannot_be_drawn_leaves_no_file(tmp_path):
    def fail(frame: int) -> None:
        if frame == 2:
            raise ValueError("no such frame")

    with pytest.raises(ValueError, match="no such frame"):
        plots.save(Animation(Figure(), fail, 3), tmp_path / "broken")
    assert list(tmp_path.iterdir()) == []
