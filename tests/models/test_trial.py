"""Checks before a run refuse invalid user-added entries, with key and reason, before any training."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.errors import SpecError
from tmsjax.models import check_spec
from tmsjax.spec import load_spec

pytestmark = pytest.mark.usefixtures("registries")

TIED = {"W": ("hidden", "feature"), "b": ("feature",)}


def tied(p, x, f):
    return f(p["W"].T @ (p["W"] @ x) + p["b"])


def family(**changes) -> dict:
    tmsjax.add_family("mine", **({"parameters": TIED, "apply": tied} | changes))
    return {"model": {"family": "mine"}}


def outer(p):
    return p[..., :, None] * p[..., None, :]


def joint(p):
    eye = np.broadcast_to(np.eye(p.shape[-1], dtype=bool), outer(p).shape)
    return p.__array_namespace__().where(eye, p[..., :, None], outer(p))


def exactly(p, subset):
    out = 1.0
    for k, q in enumerate(p):
        out = out * (q if k in subset else 1 - q)
    return out


def activity(**changes) -> dict:
    given = {"columns": lambda n: n, "active": lambda u, p: u < p, "joint": joint, "exactly": exactly}
    tmsjax.add_activity("mine", **(given | changes))
    return {"data": {"activity": "mine"}}


def fails(*_):
    raise LookupError("nothing\nhere")


def single_joint(p):
    return jnp.where(np.eye(p.shape[-1], dtype=bool), p[:, None], p[:, None] * p[None, :])


BAD = {
    "apply's shape": (
        lambda: family(apply=lambda p, x, f: f(p["W"] @ x)),
        r"apply gives float32\[2\], not float32\[3\]",
    ),
    "apply fails": (lambda: family(apply=lambda p, x, f: f(p["V"] @ x)), r"apply fails \(KeyError: 'V'\)"),
    "apply gives nothing": (lambda: family(apply=lambda p, x, f: None), "apply gives NoneType"),
    "apply asks": (lambda: family(apply=lambda p, x, f: x if x[0] > 0 else -x), "apply fails .Tracer"),
    "init's names": (lambda: family(init=lambda z, i: {"W": z["W"]}), r"init gives \{W: float32\[2, 3\]\}, not"),
    "init's type": (lambda: family(init=lambda z, i: {k: v > 0 for k, v in z.items()}), "bool"),
    "init nested": (lambda: family(init=lambda z, i: {"W": z, "b": z["b"]}), "init gives"),
    "target": (lambda: family(target=lambda x: x.sum()), r"target gives float32\[\], not float32\[3\]"),
    "target fails": (lambda: family(target=fails), r"target fails \(LookupError: nothing\)"),
    "penalty": (lambda: family(penalty=lambda p, x, f: abs(x)), r"penalty gives float32\[3\], not float32\[\]"),
    "penalty gives nothing": (lambda: family(penalty=lambda p, x, f: None), "penalty gives NoneType"),
    "directions": (lambda: family(directions=lambda p: p["W"].T), r"directions gives float32\[3, 2\]"),
    "directions give nothing": (lambda: family(directions=lambda p: None), "directions gives NoneType"),
    "W beside directions": (lambda: family(directions=lambda p: 2 * p["W"]), "a parameter W must be the directions"),
    "W of other dims": (
        lambda: family(
            parameters={"W": ("feature", "hidden"), "b": ("feature",)},
            apply=lambda p, x, f: f(p["W"] @ (p["W"].T @ x)),
            directions=lambda p: p["W"].T,
        ),
        "a parameter W must be the directions",
    ),
    "parameter named like a measure": (
        lambda: family(parameters=TIED | {"norm": ("feature",)}),
        "a measure has the name of its parameter 'norm'",
    ),
    "a function that exits": (lambda: family(apply=lambda p, x, f: exit(0)), "apply fails"),
    "columns": (lambda: activity(columns=lambda n: n / 2), "columns gives 1.5, not a whole number"),
    "no columns": (lambda: activity(columns=lambda n: 0), "columns gives 0"),
    "columns fail": (lambda: activity(columns=fails), r"columns fails \(LookupError"),
    "active's shape": (lambda: activity(active=lambda u, p: (u < p)[:2]), r"active gives bool\[2\], not bool\[3\]"),
    "active's type": (lambda: activity(active=lambda u, p: u - p), r"active gives float32\[3\]"),
    "active gives nothing": (lambda: activity(active=lambda u, p: None), "active gives NoneType"),
    "active fails": (lambda: activity(active=fails), "active fails"),
    "joint's shape": (lambda: activity(joint=lambda p: p), r"joint of p \[3\] gives shape \[3\], not \[3, 3\]"),
    "joint of one model": (lambda: activity(joint=single_joint), "joint"),
    "joint of pairs": (
        lambda: activity(joint=lambda p: joint(p) * 0 + p[..., :, None]),
        "both active with probability",
    ),
    "joint of one feature": (lambda: activity(joint=outer), "feature 0 is active with probability 0.09"),
    "joint is nan": (lambda: activity(joint=lambda p: joint(p) * np.nan), "with probability nan"),
    "exactly": (lambda: activity(exactly=lambda p, s: 0.125), "exactly says 0.125 for the subset"),
    "exactly fails": (lambda: activity(exactly=fails), "exactly fails"),
    "joint that jax cannot trace": (
        lambda: activity(joint=lambda p: joint(np.asarray(p))) | {"model": {"activation": "linear"}},
        "the exact loss fails",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_extensions_are_refused_before_training(name):
    make, why = BAD[name]
    raw = plain_spec(3, 2)
    for table, changes in make().items():
        raw[table] = raw.get(table, {}) | changes
    with pytest.raises(SpecError, match=why) as caught:
        tmsjax.run_sweep(raw)
    (key, message), *others = caught.value.problems
    assert not others
    assert key in ("model.family", "data.activity")
    assert "'mine'" in message or "loss" in message


def test_small_probabilities_are_told_apart():
    """p^2 = 1e-4 where features are active together with p = 0.01."""
    raw = plain_spec(3, 2, probability=0.01, **activity(active=lambda u, p: u[0] + 0 * u < p, exactly=None))
    with pytest.raises(SpecError, match="both active"):
        tmsjax.run_sweep(raw)


def test_the_last_instance_is_tried_too():
    raw = plain_spec(
        3, 2, **activity(active=lambda u, p: u * 0 + u[0] < p, joint=lambda p: joint(p).clip(p.min() ** 9))
    )
    raw["axes"] = {"p": {"values": [1.0, 0.2]}}
    raw["instance"] = {"feature_probability": "p"}
    with pytest.raises(SpecError, match=r"both active with probability 0\.04"):
        tmsjax.run_sweep(raw)


def test_good_extensions_pass():
    raw = plain_spec(3, 2, **activity(), **family(target=lambda x: x > 0, directions=lambda p: p["W"]))
    check_spec(load_spec(raw))
    check_spec(load_spec(plain_spec(3, 2, **activity(), model={"activation": "linear"})))


def problems_of(raw: dict) -> str:
    with pytest.raises(SpecError) as caught:
        tmsjax.run_sweep(raw)
    return str(caught.value)


def test_options_in_a_spec():
    rank = tmsjax.Option("int", high=4, sentence="rank of W")
    gain = tmsjax.Option("quantity", default=1.0, low=0.0)
    given = {"parameters": {"U": ("hidden", "rank"), "V": ("rank", "feature")}, "options": {"rank": rank, "gain": gain}}
    family(**given, apply=lambda p, x, f, gain: f(p["V"].T @ (p["V"] @ x) * gain))
    ok = {"family": "mine", "rank": 2}
    check_spec(load_spec(plain_spec(3, 2, model=ok)))
    assert "model.rank: is missing: rank of W" in problems_of(plain_spec(3, 2, model={"family": "mine"}))
    assert "[1, 4], not 5" in problems_of(plain_spec(3, 2, model=ok | {"rank": 5}))
    assert "whole number" in problems_of(plain_spec(3, 2, model=ok | {"rank": 1.5}))
    assert "of at least 0.0; got -1.0" in problems_of(plain_spec(3, 2, model=ok | {"gain": -1.0}))
    assert "did you mean 'gain'" in problems_of(plain_spec(3, 2, model=ok | {"gian": 1.0}))
    for axis in ("rank", "gain"):
        raw = plain_spec(3, 2, model=ok | {"gain": axis}, axes={axis: {"values": [1.0, 2.0]}})
        if axis == "rank":
            assert "axes.rank: the family 'mine' has a parameter or a size of this name" in problems_of(raw)
        else:
            check_spec(load_spec(raw))


def test_axes_with_the_name_of_a_parameter():
    family(parameters=TIED | {"scale": ("feature",)}, apply=lambda p, x, f: f(p["scale"] * x))
    raw = plain_spec(3, 2, model={"family": "mine"}, instance={"importance": "scale"})
    raw["axes"]["scale"] = {"values": [1.0, 2.0]}
    assert "axes.scale" in problems_of(raw)


def test_stratified_signs_need_w_of_the_usual_shape():
    family(parameters={"W": ("feature", "hidden")}, apply=lambda p, x, f: f(p["W"] @ (p["W"].T @ x)))
    raw = plain_spec(3, 1, model={"family": "mine"}, init={"signs": "stratified"})
    assert "init.signs" in problems_of(raw)


def test_a_measure_is_tried_on_the_size_of_the_models(registries):
    """The trial at its registration has W of (2, 3)."""
    tmsjax.add_measure("mixed", lambda W: W @ np.eye(3), dims=("hidden", "feature"))
    check_spec(load_spec(plain_spec(3, 2, record={"measures": ["mixed"]})))
    with pytest.raises(SpecError, match="'mixed' fails"):
        tmsjax.run_sweep(plain_spec(5, 2, record={"measures": ["mixed"]}))


def test_an_activity_may_have_a_quantity_that_is_swept_and_its_joint_is_checked():
    def active(u, p, share):
        """All features together with probability `share`, else none."""
        return (u[0] < share) & (u[1] < p)

    def joint(p, share):
        least = np.minimum(p[..., :, None], p[..., None, :])
        return p.__array_namespace__().asarray(share)[..., None, None] * least

    def add(factor: float) -> dict:
        tmsjax.add_activity(
            "mine",
            columns=lambda n: 2,
            active=active,
            joint=lambda p, share: factor * joint(p, share),
            options={"share": tmsjax.Option("quantity", default=0.5, low=0.0, high=1.0)},
        )
        raw = plain_spec(3, 2, data={"activity": "mine", "share": "share"})
        return raw | {"axes": {"share": {"values": [0.2, 1.0]}, "replica": {"count": 3}}}

    results = tmsjax.run_sweep(add(1.0)).dataset
    assert results.sizes["share"] == 2
    zero = tmsjax.run_sweep(add(1.0) | {"train": {"steps": 1, "batch": 16, "learning_rate": 0.0}}).dataset
    assert (zero["loss"].sel(share=0.2).mean() < 0.5 * zero["loss"].sel(share=1.0).mean()).item()
    raw = add(0.5)
    with pytest.raises(SpecError, match="in a simulation it is"):
        check_spec(load_spec(raw))
    raw["axes"]["share"] = {"values": [0.2, 1.5]}
    with pytest.raises(SpecError, match=r"data\.share: needs numbers in \[0\.0, 1\.0\]; got 1\.5"):
        load_spec(raw)


def test_the_joint_of_many_models_with_a_quantity_is_tried():
    def joint(p, share):
        least = np.minimum(p[..., :, None], p[..., None, :])
        return least * share  # right for one model only

    tmsjax.add_activity(
        "mine",
        columns=lambda n: 2,
        active=lambda u, p, share: (u[0] < share) & (u[1] < p),
        joint=joint,
        options={"share": tmsjax.Option("quantity", default=0.5, low=0.0, high=1.0)},
    )
    with pytest.raises(SpecError, match="joint fails"):
        check_spec(load_spec(plain_spec(3, 2, data={"activity": "mine"})))


def test_measures_of_w_need_directions():
    with pytest.raises(SpecError, match="'norm' needs directions W; the family 'attention-score' has none"):
        load_spec(plain_spec(4, 1, model={"family": "attention-score"}, record={"measures": ["loss", "norm"]}))
    with pytest.raises(SpecError, match="'dynamics' needs"):
        load_spec(plain_spec(4, 2, study={"kind": "dynamics"}))
