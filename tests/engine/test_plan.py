"""The plan: scalars or arrays, the compiler's effort, blocks; a run keeps its own; what needs arrays is told."""

import math
import re
from dataclasses import replace
from importlib import import_module
from itertools import product

import pytest
from conftest import PATHS, digest, plain_spec, run_command, small_spec, write_spec

from tmsjax.engine import Ensemble, Plan, plan
from tmsjax.errors import Interrupted, SpecError
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import load_spec


def nothing_is_small(monkeypatch) -> None:
    for limit in ("SMALL", "TINY"):
        monkeypatch.setattr(import_module("tmsjax.engine.plan"), limit, 0)


@pytest.mark.parametrize(
    ("sizes", "train", "auto"),
    [  # 4 instances
        ((2, 1), {"steps": 2**13}, "arrays 0"),
        ((2, 1), {"steps": 2**13, "batch": 2**10}, "scalars 3"),
        ((2, 1), {"steps": 2**13, "batch": 2**10, "loss": "exact"}, "arrays 0"),
        ((5, 2), {"steps": 2**19}, "arrays 1"),
        ((5, 2), {"steps": 2**21}, "scalars 3"),
        ((10, 4), {"steps": 2**13}, "arrays 0"),
        ((10, 4), {"steps": 2**19}, "stages 3"),
        ((40, 4), {"steps": 2**19}, "stages 3"),
        ((40, 30), {"steps": 2**19}, "arrays 1"),
        ((40, 30), {"steps": 2**21}, "arrays 3"),
    ],
    ids=str,
)
def test_a_sweep_trains_on_the_path_that_suits_its_work_or_that_a_key_forces(sizes, train, auto):
    def found(path: str, platform: str = "cpu") -> str:
        cut = plan(load_spec(plain_spec(*sizes, train=train, engine={"path": path})), platform)
        return f"{'scalars' if cut.scalars else 'stages' if cut.staged else 'arrays'} {cut.effort}"

    assert [found(path) for path in PATHS] == [auto, "scalars 3", "stages 3", "arrays 3"]
    assert found("auto", "gpu") == ("scalars 3" if math.prod(sizes) <= 16 else "arrays 3")


def test_the_default_path_leaves_the_hash():
    plain, *others = (load_spec(plain_spec(3, 2, engine=table)) for table in ({}, *({"path": p} for p in PATHS)))
    assert [plain.hash == other.hash for other in others] == [True, False, False, False]
    assert len({other.hash for other in others}) == len(PATHS)


def test_blocks_hold_all_instances_and_little_else():
    for sizes, instances in product(((2, 1), (5, 2), (20, 5), (80, 20)), (1, 63, 100, 1000, 5000, 99_999, 1_000_000)):
        raw = plain_spec(*sizes, train={"batch": 64})
        raw["axes"]["replica"]["count"] = min(instances, 2_000_000 // (sizes[0] * sizes[1]))
        for path in PATHS:
            loaded = load_spec({**raw, "engine": {"path": path}})
            cut = plan(loaded, "cpu")
            held = cut.block * cut.blocks
            assert loaded.instances <= held < max(1.2 * loaded.instances, loaded.instances + 64), (sizes, instances)


def test_the_plan_is_a_function_of_spec_and_platform():
    flagship = load_spec("sweeps/one_neuron_relu.toml")
    assert plan(flagship, "cpu") == Plan(scalars=True, block=32000, blocks=32, microbatch=64, unit=(320, 320, 10))
    on_gpu = plan(flagship, "gpu")
    assert (on_gpu.unroll, on_gpu.microbatch, on_gpu.chunk) == (16, 64, 16)
    in_kernel = plan(replace(flagship, engine=replace(flagship.engine, kernel="pallas")), "gpu")
    assert (in_kernel.unroll, in_kernel.microbatch, in_kernel.chunk, in_kernel.kernel) == (8, 64, 256, "pallas")
    chosen = load_spec(small_spec(engine={"block": 5, "microbatch": 4, "path": "scalars"}))
    assert plan(chosen, "cpu") == Plan(scalars=True, block=5, blocks=3, microbatch=4, unit=(2, 3, 2))


def test_a_run_keeps_its_plan_when_it_is_resumed_and_extended(tmp_path, monkeypatch):
    raw = small_spec(train={"schedule": "constant"}, record={"measures": ["W"], "steps": [1, 20]})
    whole = run_sweep(raw, overrides=["train.steps=50"])
    with pytest.raises(Interrupted):
        run_sweep(raw | {"checkpoint": {"segment_seconds": 0}}, tmp_path / "run", should_stop=lambda: True)
    nothing_is_small(monkeypatch)
    assert plan(load_spec(raw), "cpu").scalars
    for steps in (30, 50):
        run_sweep(raw, tmp_path / "run", overrides=[f"train.steps={steps}"])
    run = open_run(tmp_path / "run")
    assert {key: run.directory.info().plan[key] for key in ("scalars", "block", "effort")} == {
        "scalars": False, "block": 16, "effort": 0
    }  # fmt: skip
    assert digest(run.dataset) == digest(whole.dataset)


CODE = """import jax.numpy as jnp
import tmsjax

def ranked(v):
    return jnp.sort(v)

tmsjax.add_activation("ranked", ranked)
"""


@pytest.mark.usefixtures("registries")
def test_what_needs_arrays_is_told_where_it_is_slower(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CODE)
    raw = small_spec(imports=["mine.py"], model={"activation": "ranked"})
    path = write_spec(tmp_path / "s.toml", raw)
    because = f"because of sort in ranked ({tmp_path}/mine.py, line 5)"
    run_sweep(path)  # is small: no warning
    with pytest.raises(SpecError, match=r'engine\.path: "scalars" .*"arrays" and "auto" train every model') as caught:
        run_sweep(path, overrides=["engine.path=scalars"])
    assert because in str(caught.value)
    assert "because" not in run_command("info", path, "--imports").stdout
    nothing_is_small(monkeypatch)
    run_sweep(path, overrides=["engine.path=arrays"])
    words = re.escape(f"trains on arrays, about 10 times slower than scalars, {because}")
    with pytest.warns(UserWarning, match=words) as caught:
        run_sweep(path)
    assert [warning.filename for warning in caught] == [__file__]
    assert because in run_command("info", path, "--imports").stdout


def test_an_activity_of_many_features_needs_arrays():
    raw = plain_spec(40, 2, data={"activity": "exactly-k", "active": 2}, engine={"path": "scalars"})
    with pytest.raises(SpecError, match=r"because of an activity of more than \d+ features"):
        Ensemble(load_spec(raw))
