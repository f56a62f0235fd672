"""The hash of a spec names its run and marks its stored units; one that changes would train everything again."""

import pytest
from conftest import plain_spec, run_command, small_spec

from tmsjax.spec import load_spec, stored_spec
from tmsjax.spec.text import _toml

OF_0_11 = {
    "one neuron": (small_spec(), "c9d3f10f561ea419"),
    "another unit": (small_spec(engine={"unit": 4}, checkpoint={"keep": 3}, store={"keep": "all"}), "c9d3f10f561ea419"),
    "another block": (small_spec(engine={"block": 64, "microbatch": 8}), "801eee21481cb986"),
    "the kernel": (small_spec(engine={"kernel": "pallas"}), "a19e2b55cb642e85"),
    "the best": (small_spec(store={"keep": "best"}), "b0a9c4c5adc0d07b"),
    "a study": (small_spec(study={"kind": "norms", "x": "extra_importance"}), "5db894bb76ad7c0e"),
    "exact loss": (small_spec(train={"loss": "exact"}, init={"signs": "stratified"}), "e7fe869d7cf60bf9"),
    "imports": (small_spec(imports=["mine.py"], model={"activation": "mine"}), "5e6d3b4a9d2d2833"),
    "vectors": (
        plain_spec(
            5,
            2,
            init={"polygon": 5, "polygon_norm": 1.1},
            data={"samples": 100},
            train={"optimizer": "adamw", "weight_decay": 0.1},
            record={"measures": ["norm", "loss"], "steps": [1, 30]},
        ),
        "c30d93238a14cc01",
    ),
    "attacked groups": (
        plain_spec(6, 2, data={"activity": "groups", "size": 3, "values": "constant"}, train={"attack": 0.1}),
        "0b81159d6868f6a9",
    ),
    "an option on an axis": (
        plain_spec(
            4,
            1,
            model={"family": "attention-score", "ratio": "ratio"},
            axes={"ratio": {"linear": [0.5, 1.0], "count": 3}},
            instance={"importance": {"geometric": [1.0, 0.1], "permute": "replica"}},
        ),
        "5e02f378529de4ec",
    ),
    "a run as data": (
        plain_spec(
            2,
            12,
            model={"family": "sparse-autoencoder"},
            data={"run": "runs/toy"},
            instance={"feature_probability": 1.0},
        ),
        "33bf86de28bb1059",
    ),
}


def as_toml(raw: dict) -> str:
    return "\n".join(f"{key} = {_toml(value)}" for key, value in raw.items())


@pytest.mark.filterwarnings("ignore:.* is now. :FutureWarning", "ignore:.* needs. :FutureWarning")
def test_hashes_are_those_of_0_11():
    found = {name: load_spec(raw).hash[:16] for name, (raw, _) in OF_0_11.items()}
    assert found == {name: expected for name, (_, expected) in OF_0_11.items()}


def test_defaults_that_0_11_wrote_out_change_nothing():
    """A stored spec of 0.11 has all keys, such as `polygon = 0.0` beside signs."""
    polygon = {"polygon": 0.0, "polygon_norm": 1.0, "polygon_bias": 0.0}
    for signs in ("random", "stratified"):
        raw = small_spec(
            init={"bias_scale": 0.0, "signs": signs, **polygon}, data={"masks_per_batch": 0}, train={"attack": 0.0}
        )
        stored = stored_spec(as_toml(raw), "run")
        assert stored.init.rule == signs
        assert stored.hash == load_spec(small_spec(init={"rule": signs})).hash


def test_old_keys_are_told_in_a_line_each_and_only_for_files(tmp_path):
    old = {"init": {"polygon": 3}, "data": {"masks_per_batch": 4}, "train": {"attack": 0.1}}
    raw = plain_spec(4, 2, **old)
    with pytest.warns(FutureWarning) as told:
        spec = load_spec(raw)
    assert [str(w.message) for w in told] == [
        'spec: init.polygon needs: init.rule = "polygon"',
        'spec: data.masks_per_batch is now: data.sampler = "shared-masks", data.masks = 4',
        'spec: train.attack is now: loss.kind = "attacked", loss.radius = 0.1',
    ]
    assert stored_spec(as_toml(raw), "run") == spec  # silently
    assert load_spec(plain_spec(4, 2), ["loss.kind=attacked", "loss.radius=0.1"]).loss == spec.loss
    (tmp_path / "old.toml").write_text(as_toml(raw))
    done = run_command("info", tmp_path / "old.toml")
    assert [line for line in done.stderr.splitlines() if "warning" in line] == [
        f"warning: {tmp_path / 'old.toml'}: {str(w.message).removeprefix('spec: ')}" for w in told
    ]
