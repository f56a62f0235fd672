"""A run whose models are drawn has what a trained one has."""

import pytest
from conftest import plain_spec
from studies.drawn import drawn_run

from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec


@pytest.mark.parametrize("family", ["tied", "absolute-value"])
def test_a_drawn_run_has_the_variables_of_a_trained_one(family):
    values = "signed" if family == "absolute-value" else "uniform"
    raw = plain_spec(3, 2, instances=2, model={"family": family}, data={"values": values})
    raw["record"] = {"measures": ["loss", "W"], "steps": [0, 30]}
    trained, drawn = run_sweep(raw).dataset, drawn_run(load_spec(raw)).dataset
    assert {name: (v.dims, v.shape) for name, v in drawn.variables.items()} == {
        name: (v.dims, v.shape) for name, v in trained.variables.items()
    }
    assert drawn.attrs.keys() == trained.attrs.keys()
    for name in ("instance_importance", "instance_feature_probability"):
        assert (drawn[name] == trained[name]).all()
