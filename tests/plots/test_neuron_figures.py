"""Stack plots show every weight of the best models, and neurons by class."""

import numpy as np
import pytest
from conftest import plain_spec
from cut_runs import untrained
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

from tmsjax import plots
from tmsjax.analysis import neurons
from tmsjax.errors import RunError
from tmsjax.kinds import FAMILIES
from tmsjax.plots import neurons as figures
from tmsjax.plots import style
from tmsjax.runs import Run


def drawn(family: str, features: int = 4, hidden: int = 3) -> Run:
    """A run over two probabilities and two replicas of which the second is better; none of its weights is small."""
    raw = plain_spec(features, hidden, probability="feature_probability", model={"family": family})
    raw["axes"] = {"feature_probability": {"values": [1.0, 0.1]}, "replica": {"count": 2}}
    run = untrained(raw)
    for name in FAMILIES[family].parameters:
        run.dataset[name] += 0.3 * np.sign(run.dataset[name])
    run.dataset["loss"][:] = [2.0, 1.0]
    return run


def rectangles(axes) -> list[tuple[int, float, float, tuple]]:
    """(neuron, bottom, top, colour) of every rectangle."""
    (stack,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    found = []
    for path, colour in zip(stack.get_paths(), stack.get_facecolors(), strict=True):
        x, y = path.vertices[:-1].T
        found.append((round(x.mean()) - 1, y.min(), y.max(), tuple(colour)))
    return found


def test_a_stack_has_one_rectangle_per_weight_in_the_colour_of_its_feature():
    run = drawn("absolute-value")
    made = plots.figures(run, kind="neurons")
    assert made.keys() == {"neurons", "writes"}
    best = neurons.measured(run.dataset).isel(replica=1)
    for k, p in enumerate(("1", "0.1")):
        cell = best.isel(feature_probability=k)
        order = neurons.order(cell["reads"].to_numpy(), cell["neuron_class"].to_numpy())
        for name, weights in (("neurons", cell["reads"].to_numpy()), ("writes", cell["writes"].to_numpy().T)):
            axes = made[name].axes[k]
            shown = np.zeros((3, 4))
            for neuron, bottom, top, colour in rectangles(axes):
                feature = [to_rgba(tone) for tone in style.TONES].index(colour)
                shown[neuron, feature] = (top - bottom) * (1 if top + bottom > 0 else -1)
            np.testing.assert_allclose(shown, weights[order], atol=1e-9)
            count = int((cell["neuron_class"] == neurons.MONOSEMANTIC).sum())
            assert axes.get_title() == f"p = {p}\n{count} of 3 monosemantic"
            assert axes.get_ylim()[0] < min(r[1] for r in rectangles(axes))
            assert axes.get_ylim()[1] > max(r[2] for r in rectangles(axes))


def test_tied_models_have_one_figure():
    assert plots.figures(drawn("hidden-relu")).keys() >= {"neurons"}
    assert "writes" not in plots.figures(drawn("hidden-relu"), kind="neurons")


def test_small_weights_are_merged_and_classes_shaded():
    weights = np.array([[[1.0, 0.006, 0.009, 0.009], [0.0, 0.0, 0.0, 0.0], [0.5, -0.5, 0.0, 0.0]]])
    kinds = np.array([1, 0, 2])
    figure = figures.stacks(weights, [kinds], ["one"], 1, True, "reads")
    axes = figure.axes[0]
    grey = [r for r in rectangles(axes) if r[3] == to_rgba(figures.REST)]
    assert len(grey) == 1
    assert grey[0][2] - grey[0][1] == pytest.approx(0.024)
    assert grey[0][2] == pytest.approx(1.024)
    assert [to_rgba(patch.get_facecolor()) for patch in axes.patches] == [
        to_rgba(figures.SHADES[neurons.NEURON_CLASSES[k]]) for k in kinds
    ]
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels >= {"feature 4", "dead neuron", "monosemantic neuron", "polysemantic neuron", "smaller weights"}


def test_many_features_have_a_colour_bar():
    run = drawn("hidden-relu", features=12)
    figure = plots.figures(run, kind="neurons")["neurons"]
    assert figure.axes[-1].get_ylabel() == "feature"
    assert figure.axes[-1].get_ylim() == (0.5, 12.5)


def test_runs_without_neurons_are_refused():
    with pytest.raises(RunError, match=r"'neurons' needs a hidden layer h = ReLU\(W x\)"):
        plots.figures(drawn("tied"), kind="neurons")
    with pytest.raises(RunError, match="no phase map: phases compare lengths"):
        plots.figures(drawn("absolute-value"), kind="phase-map")
