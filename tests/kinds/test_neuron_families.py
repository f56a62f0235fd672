"""Families with a ReLU hidden layer: what they refuse and what is drawn of them (their losses: test_loss.py)."""

import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.errors import RegistryError, SpecError
from tmsjax.kinds import misfit, suited
from tmsjax.spec import load_spec


def test_there_is_no_exact_loss_and_no_phase_map_of_weights_without_a_scale():
    raw = plain_spec(2, 4, model={"family": "absolute-value"}, data={"values": "signed"})
    with pytest.raises(SpecError, match=r"train.loss: no exact loss is known for this model"):
        load_spec(raw | {"train": {"steps": 5, "loss": "exact"}})
    with pytest.raises(SpecError, match=r"study.kind: no phase map: phases compare lengths .* 'absolute-value'"):
        load_spec(raw | {"study": {"kind": "phase-map"}})


def test_stack_plots_are_offered_where_there_are_neurons():
    assert "neurons" in suited(load_spec(plain_spec(4, 3, model={"family": "hidden-relu"})), ["directions"])
    tied = load_spec(plain_spec(4, 3))
    assert "neurons" not in suited(tied, ["directions"])
    with pytest.raises(SpecError, match=r"h = ReLU\(W x\) .*'hidden-relu', 'absolute-value'.* not the family 'tied'"):
        load_spec(plain_spec(4, 3, study={"kind": "neurons"}))


@pytest.mark.parametrize(
    ("features", "hidden", "cells", "why"),
    [
        (4, 201, 1, "'neurons' shows at most 200 neurons of a model (model.hidden), not 201"),
        (600, 200, 2, "'neurons' shows at most 200,000 weights (cells x features x hidden), not 240,000"),
        (4, 3, 41, "'neurons' shows at most 40 cells, not 41"),
    ],
)
def test_too_many_neurons_or_cells_are_refused(features, hidden, cells, why):
    spec = plain_spec(features, hidden, probability="p", model={"family": "hidden-relu"})
    spec["axes"] = {"p": {"log": [1.0, 0.1], "count": cells}}
    assert misfit(load_spec(spec), "neurons") == why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"parameters": {"U": ("hidden", "feature")}, "neurons": True}, "neurons need a parameter W"),
        ({"neurons": True, "writes": "W"}, "writes must name a parameter of dimensions"),
        ({"writes": "V"}, "writes must name a parameter"),
        ({"neurons": True, "directions": None}, "or True with directions"),
    ],
)
def test_families_of_neurons_are_checked(changes, why, registries):
    given = {"parameters": {"W": ("hidden", "feature"), "V": ("feature", "hidden")}, "apply": lambda p, x, f: f(x)}
    given["directions"] = lambda p: p["W"]
    with pytest.raises(RegistryError, match=why):
        tmsjax.add_family("mine", **(given | changes))
    tmsjax.add_family("mine", **given, neurons=True, writes="V")
    assert registries["model.family"]["mine"].writes == "V"
