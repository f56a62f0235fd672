"""Entries that users add are tried with a spec's sizes: what does not fit is refused with key and reason, untrained."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.errors import SpecError
from tmsjax.kinds import drawn_by
from tmsjax.models import check_spec
from tmsjax.models.trial import estimated_joint
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


def of_one_model(p):
    return jnp.where(np.eye(p.shape[-1], dtype=bool), p[:, None], p[:, None] * p[None, :])


def endless(p, x, f):
    return jax.lax.while_loop(lambda y: y[0] > 1, lambda y: y / 2, tied(p, x, f))


def applied(apply):
    return lambda: family(apply=apply)


BAD = {  # what is added -> the message
    "apply's shape": (applied(lambda p, x, f: p["W"] @ x), r"apply gives float32\[2\], not float32\[3\]"),
    "apply fails": (applied(lambda p, x, f: p["V"] @ x), r"apply fails \(KeyError: 'V'\)"),
    "apply exits": (applied(lambda p, x, f: exit(0)), "apply fails"),
    "apply asks": (applied(lambda p, x, f: x if x[0] > 0 else -x), "apply fails .Tracer"),
    "apply gives nothing": (applied(lambda p, x, f: None), "apply gives None, not"),
    "no gradient": (applied(endless), "the loss fails .*[Rr]everse-mode"),
    "init's names": (lambda: family(init=lambda z, i: {"X": z["W"]}), r"init gives \{W: .*X: float32"),
    "outputs": (lambda: family(outputs=lambda n: n / 2), "outputs gives 1.5, not a whole number from 1 to"),
    "more outputs": (lambda: family(outputs=lambda n: n + 1), r"apply gives float32\[3\], not float32\[4\]"),
    "target": (lambda: family(target=lambda x: x.sum()), r"target gives float32\[\], not float32\[3\]"),
    "target fails": (lambda: family(target=fails), r"target fails \(LookupError: nothing\)"),
    "penalty": (lambda: family(penalty=lambda p, x, f: abs(x)), r"penalty gives float32\[3\], not float32\[\]"),
    "directions": (lambda: family(directions=lambda p: p["W"].T), r"directions gives float32\[3, 2\]"),
    "W beside directions": (lambda: family(directions=lambda p: 2 * p["W"]), "a parameter W must be the directions"),
    "columns": (lambda: activity(columns=lambda n: n / 2), "columns gives 1.5, not a whole number"),
    "no columns": (lambda: activity(columns=lambda n: 0), "columns gives 0"),
    "active's shape": (lambda: activity(active=lambda u, p: (u < p)[:2]), r"active gives bool\[2\], not bool\[3\]"),
    "active's type": (lambda: activity(active=lambda u, p: u - p), r"active gives float32\[3\]"),
    "joint's shape": (lambda: activity(joint=lambda p: p), r"joint of p \[4, 3\] gives shape \[4, 3\], not"),
    "joint of one model": (lambda: activity(joint=of_one_model), "joint"),
    "joint of pairs": (lambda: activity(joint=lambda p: joint(p) * 0 + p[..., None]), r"features \(0, 1\) is 0.3; in"),
    "joint of one feature": (lambda: activity(joint=outer), r"joint of features \(0, 0\) is 0.09; in a simulation"),
    "joint is nan": (lambda: activity(joint=lambda p: joint(p) * np.nan), "is nan"),
    "joint on numpy alone": (
        lambda: activity(joint=lambda p: joint(np.asarray(p))) | {"model": {"activation": "linear"}},
        "the loss fails .Tracer",
    ),
    "exactly": (lambda: activity(exactly=lambda p, s: 0.125), r"exactly of active = \(0, 0, 0\) is 0.125; in a sim"),
    "exactly gives nothing": (lambda: activity(exactly=lambda p, s: None), "exactly of active = .*(fails|is nan)"),
    "exactly fails": (lambda: activity(exactly=fails), "exactly fails"),
}


def test_what_does_not_fit_is_refused_before_training():
    wrong = []
    for name, (make, why) in BAD.items():
        try:
            tmsjax.run_sweep(plain_spec(3, 2, **make()))
        except SpecError as error:
            ((key, message),) = error.problems
            if key not in ("model.family", "data.activity") or not re.match(f"'mine': .*{why}", message):
                wrong.append(f"{name}: {key}: {message}")
        else:
            wrong.append(f"{name}: accepted")
    assert not wrong, "\n".join(wrong)


def test_what_fits_passes():
    check_spec(load_spec(plain_spec(3, 2, **activity(), **family(target=lambda x: x > 0, directions=lambda p: p["W"]))))
    check_spec(load_spec(plain_spec(3, 2, **activity(), model={"activation": "linear"})))


def problems_of(raw: dict) -> str:
    with pytest.raises(SpecError) as caught:
        tmsjax.run_sweep(raw)
    return str(caught.value)


def test_small_probabilities_are_told_apart_and_the_last_instance_is_tried():
    """p^2 = 1e-4 where features are active together with p = 0.01."""
    together = activity(active=lambda u, p: u[0] + 0 * u < p, exactly=None)
    assert "joint of features (0, 1) is 0.0001; in a" in problems_of(plain_spec(3, 2, probability=0.01, **together))
    raw = plain_spec(3, 2, **together, axes={"p": {"values": [1.0, 0.2]}}, instance={"feature_probability": "p"})
    assert "joint of features (0, 1) is 0.04; in a" in problems_of(raw)


def test_estimates_of_built_in_activities_agree_with_what_they_state():
    p = np.float32([0.5, 0.1, 0.03, 0.3])
    for name, options in (("independent", {}), ("exclusive", {"size": 2}), ("correlated", {"correlation": 0.3})):
        drawn = drawn_by(name, 4, **options)
        found, error, sets = estimated_joint(drawn, p)
        assert (error < 0.01).all()
        assert sets.shape[1] == 4
        z = (found - drawn.joint(p)) / error
        assert abs(z).max() < 5, name
        assert abs(z[drawn.joint(p) > 0]).max() > 0.05, f"{name}: an estimate, not the statement"


def test_options_in_a_spec():
    rank = tmsjax.Option("int", high=4, sentence="rank of W")
    gain = tmsjax.Option("quantity", default=1.0, low=0.0)
    given = {"parameters": {"U": ("hidden", "rank"), "V": ("rank", "feature")}, "options": {"rank": rank, "gain": gain}}
    family(**given, apply=lambda p, x, f, gain: f(p["V"].T @ (p["V"] @ x) * gain))
    ok = {"family": "mine", "rank": 2}
    check_spec(load_spec(plain_spec(3, 2, model=ok | {"gain": "gain"}, axes={"gain": {"values": [1.0, 2.0]}})))
    for model, why in (
        ({"family": "mine"}, "model.rank: is missing: rank of W"),
        (ok | {"rank": 5}, "[1, 4], not 5"),
        (ok | {"rank": 1.5}, "whole number"),
        (ok | {"gain": -1.0}, "of at least 0.0; got -1.0"),
        (ok | {"gian": 1.0}, "did you mean 'gain'"),
    ):
        assert why in problems_of(plain_spec(3, 2, model=model))


def test_names_of_results_are_told_apart():
    """Parameters, sizes, axes and measures all become names in one dataset."""
    family(
        parameters=TIED | {"scale": ("rank",)},
        apply=lambda p, x, f, rank: f(p["W"].T @ (p["W"] @ x)),
        options={"rank": tmsjax.Option("int", default=1)},
    )
    for axis in ("scale", "rank"):
        along = {"instance": {"importance": axis}, "axes": {axis: {"values": [1.0, 2.0]}}}
        raw = plain_spec(3, 2, model={"family": "mine"}, **along)
        assert f"a parameter or size {axis!r}, which is also an axis" in problems_of(raw)
    family(parameters=TIED | {"norm": ("feature",)})
    told = "has a parameter or size 'norm', which is also a measure"
    assert told in problems_of(plain_spec(3, 2, model={"family": "mine"}))
    family(parameters={"W": ("feature", "hidden")}, apply=lambda p, x, f: f(p["W"] @ (p["W"].T @ x)))
    assert "init.rule" in problems_of(plain_spec(3, 1, model={"family": "mine"}, init={"rule": "stratified"}))


def test_a_measure_is_tried_on_the_size_of_the_models():
    """The trial at its registration has W of (2, 3)."""
    tmsjax.add_measure("mixed", lambda W: W @ np.eye(3), dims=("hidden", "feature"))
    fits, fits_not = (plain_spec(features, 2, record={"measures": ["mixed"]}) for features in (3, 5))
    check_spec(load_spec(fits))
    assert "record.measures: 'mixed': the function of W (2, 2, 5) fails" in problems_of(fits_not)


def test_an_activity_may_have_a_quantity_that_is_swept_and_its_joint_is_checked():
    def add(joint) -> dict:
        """All features together with probability `share`, else none."""
        tmsjax.add_activity(
            "mine",
            columns=lambda n: 2,
            active=lambda u, p, share: (u[0] < share) & (u[1] < p),
            joint=joint,
            options={"share": tmsjax.Option("quantity", default=0.5, low=0.0, high=1.0)},
        )
        raw = plain_spec(3, 2, data={"activity": "mine", "share": "share"}, train={"steps": 1, "learning_rate": 0.0})
        return raw | {"axes": {"share": {"values": [0.2, 1.0]}, "replica": {"count": 3}}}

    def least(p):
        return p.__array_namespace__().minimum(p[..., :, None], p[..., None, :])

    def right(p, share):
        return p.__array_namespace__().asarray(share)[..., None, None] * least(p)

    loss = tmsjax.run_sweep(add(right)).dataset["loss"]
    assert loss.sel(share=0.2).mean() < 0.5 * loss.sel(share=1.0).mean()
    assert "in a simulation it is" in problems_of(add(lambda p, share: 0.5 * right(p, share)))
    assert "joint fails" in problems_of(add(lambda p, share: share * least(p))), "right for one model only"
    raw = add(right)
    raw["axes"]["share"] = {"values": [0.2, 1.5]}
    assert "data.share: needs numbers in [0.0, 1.0]; got 1.5" in problems_of(raw)


def test_measures_of_w_need_directions():
    heads = {"family": "attention-score"}
    raw = plain_spec(4, 1, model=heads, record={"measures": ["loss", "norm"]})
    assert "'norm': needs a family with directions W, not 'attention-score'" in problems_of(raw)
    assert "'dynamics' needs" in problems_of(plain_spec(4, 2, study={"kind": "dynamics"}))
