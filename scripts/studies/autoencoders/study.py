"""Sparse autoencoders on known features: what they recover from the hidden layers of stored toy models."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies import figures
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import of_run

from tmsjax.kinds import REPRESENTED, measures

FROM = "data.run={runs}/autoencoders_toy"
FEW = ["axes.feature_probability={values=[0.1, 0.02]}", "axes.replica.count=1", "train.steps=300"]
FEW_INPUTS = ["model.features=4"]
FEWEST = ["model.features=16", "model.hidden=4"]
SOME_LATENTS = "axes.latents={values=[32, 64, 128]}"
RUNS: Runs = {
    "autoencoders_toy": Sweep("sweeps/autoencoders_toy.toml", [], [*FEW, "train.batch=256"], FEWEST),
    "autoencoders": Sweep(
        "sweeps/autoencoders.toml", [FROM], [*FEW, "axes.l1.count=2", SOME_LATENTS], ["model.features=4"]
    ),
    "autoencoders_top_k": Sweep(
        "autoencoders_top_k.toml", [FROM], [*FEW, "axes.active={values=[1, 4]}"], ["model.features=4"]
    ),
}
EDGE = 0.98  # MMCS from which a dictionary counts as found
RECOVERED = 0.9  # cosine from which a latent counts as a feature
SAMPLES = 2**13  # in which a living latent is active at least once
DRAWS = 64  # of random dictionaries
SHOWN = 0.02, 0.1  # probabilities of the panels that compare ReLU and top-k
PROBABILITY, MMCS, ACTIVE = "feature probability", "MMCS with the known features", "active latents per sample"


def make(report: Report) -> dict:
    """Sparse autoencoders on known features: what they recover from the hidden layers of stored toy models."""
    runs = {name: report.run(name) for name in RUNS}
    relu = measured(runs["autoencoders"], "l1")
    top_k = measured(runs["autoencoders_top_k"], "active")
    known = known_features(runs["autoencoders"])
    numbers = {
        "runs": {name: of_run(run) for name, run in runs.items()},
        "features": runs["autoencoders_toy"].spec.model.features,
        "hidden": runs["autoencoders_toy"].spec.model.hidden,
        "steps": runs["autoencoders"].spec.train.steps,
        "batch": runs["autoencoders"].spec.train.batch,
        "samples": SAMPLES,
        "p": relu["p"],
        "toy": of_toy(*known),
        "random": {str(k): [random_mmcs(W[:, on], k) for W, on in zip(*known, strict=True)] for k in relu["latents"]},
        "relu": relu,
        "top_k": top_k,
        "best": {"relu": best(relu), "top_k": best(top_k)},
        "edge": edges(relu),
        "random_interference": {
            "ours": random_interference(*known[0][0].shape),
            "published": random_interference(256, 512),
        },
    }
    report.figure("autoencoders_maps", maps(relu))
    report.figure("autoencoders_recovery", recovery(numbers))
    return numbers


def known_features(run: Any) -> tuple[np.ndarray, np.ndarray]:
    """W (p, m, n) of the toy models, and which features they represent (p, n)."""
    dataset = run.dataset
    first = dataset.isel({d: 0 for d in dataset["loss"].dims if d != "feature_probability"})
    W = first["known_W"].transpose("feature_probability", "feature", "known_feature").to_numpy().astype(float)
    return W, measures.norms(W) >= REPRESENTED


def cosines(D: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Cosines (..., k, n) of columns of D (..., m, k) with columns of W (..., m, n); 0 for columns of length 0."""
    unit = [A / np.maximum(np.linalg.norm(A, axis=-2, keepdims=True), 1e-12) for A in (D, W)]
    return np.swapaxes(unit[0], -1, -2) @ unit[1]


def match(D: np.ndarray, W: np.ndarray) -> dict[str, float]:
    """How a dictionary D (m, k) matches known features W (m, n).

    mmcs:      mean over features of the largest cosine with a direction of the dictionary
    recovered: share of features whose largest cosine is at least RECOVERED
    copies:    directions of the dictionary beyond the first that are within RECOVERED of the same feature, over k
    """
    if not D.shape[1]:
        return {"mmcs": 0.0, "recovered": 0.0, "copies": 0.0}
    cosine = cosines(D, W)
    largest = cosine.max(0)
    of = cosine.argmax(1)[cosine.max(1) >= RECOVERED]
    return {
        "mmcs": largest.mean(),
        "recovered": (largest >= RECOVERED).mean(),
        "copies": (len(of) - len(set(of.tolist()))) / D.shape[1],
    }


def random_mmcs(W: np.ndarray, count: int) -> float:
    """The mean MMCS of `count` random directions with W (m, n)."""
    rng = np.random.default_rng(0)
    return float(np.mean([match(rng.normal(size=(W.shape[0], count)), W)["mmcs"] for _ in range(DRAWS)]))


def samples(W: np.ndarray, p: float) -> np.ndarray:
    """Hidden layers (SAMPLES, m) of a toy model W (m, n), from uniform values that are active with probability p."""
    rng = np.random.default_rng(1)
    shape = SAMPLES, W.shape[1]
    return (rng.random(shape) * (rng.random(shape) < p)) @ W.T


def codes(h: np.ndarray, E: np.ndarray, b: np.ndarray, active: int | None) -> np.ndarray:
    """Latents (samples, k) of h (samples, m), of which only the `active` largest are kept."""
    z = np.maximum(h @ E.T + b, 0)
    if active is None or active >= z.shape[1]:
        return z
    return z * (z >= -np.partition(-z, active - 1, axis=1)[:, active - 1 : active])


def measured(run: Any, swept: str) -> dict:
    """Measures of every autoencoder, each (p, swept, latents, replica)."""
    order = ("feature_probability", swept, "latents", "replica")
    dataset = run.dataset.transpose(*order, ...)
    p, values, sizes = (dataset[name].to_numpy() for name in order[:3])
    E, b, D = (dataset[name].to_numpy().astype(float) for name in ("E", "b", "D"))
    W, represented = known_features(run)
    names = ("mmcs", "recovered", "copies", "living", "dead", "active", "unexplained")
    found = {name: np.zeros(dataset["loss"].shape) for name in names}
    for k, probability in enumerate(p):
        h = samples(W[k], probability)
        for at in np.ndindex(found["mmcs"].shape[1:]):
            size = int(sizes[at[1]])
            here = (k, *at)
            directions = D[here][:, :size] / np.linalg.norm(D[here][:, :size], axis=0)
            limit = int(values[at[0]]) if swept == "active" else None
            z = codes(h, E[here][:size], b[here][:size], limit)
            on = (z > 0).any(0)
            whole = match(directions, W[k][:, represented[k]])
            one = whole | {
                "living": match(directions[:, on], W[k][:, represented[k]])["mmcs"],
                "dead": 1 - on.mean(),
                "active": (z > 0).sum(1).mean(),
                "unexplained": ((h - z @ directions.T) ** 2).sum() / (h**2).sum(),
            }
            for name in names:
                found[name][here] = one[name]
    sound = dataset["status"].to_numpy() == 0
    return {
        "p": p,
        "swept": values,
        "latents": sizes.astype(int),
        "diverged": int((~sound).sum()),
        **{name: np.where(sound, value, np.nan).mean(-1) for name, value in found.items()},
        "spread": np.abs(np.diff(found["mmcs"], axis=-1)).max(initial=0),
    }


def of_toy(W: np.ndarray, represented: np.ndarray) -> dict:
    """Of the toy models: represented features, and the mean over them of the largest cosine with another feature."""
    interference = []
    for one, on in zip(W, represented, strict=True):
        cosine = cosines(one[:, on], one[:, on])
        np.fill_diagonal(cosine, -1)
        interference.append(cosine.max(0).mean())
    return {"represented": represented.sum(-1), "interference": interference}


def random_interference(hidden: int, features: int) -> float:
    """As the interference of `of_toy`, of random directions."""
    W = np.random.default_rng(2).normal(size=(1, hidden, features))
    return float(of_toy(W, np.ones((1, features), bool))["interference"][0])


def edges(relu: dict) -> list[float]:
    """For every probability, the least L1 coefficient whose MMCS with the largest dictionary is at least EDGE."""
    good = relu["mmcs"][..., -1] >= EDGE
    return [float(relu["swept"][row.argmax()]) if row.any() else float("nan") for row in good]


def best(found: dict) -> dict:
    """For every probability and dictionary size, the swept value of highest MMCS and what goes with it."""
    mmcs = found["mmcs"]
    k = np.nan_to_num(mmcs, nan=-1).argmax(1)  # (p, latents)
    pick = {name: np.take_along_axis(found[name], k[:, None], 1)[:, 0] for name in MEASURED}
    return {"swept": np.asarray(found["swept"])[k], **pick}


MEASURED = ("mmcs", "recovered", "copies", "living", "dead", "active", "unexplained")


def maps(relu: dict) -> Any:
    """MMCS and the share of dead latents over L1 coefficient and dictionary size, one column per probability."""
    titled = {f"MMCS, p = {p:g}": relu["mmcs"][k].T for k, p in enumerate(relu["p"])}
    dead = {f"dead, p = {p:g}": relu["dead"][k].T for k, p in enumerate(relu["p"])}
    return figures.share_maps(
        titled | dead,
        (np.array(relu["swept"]), np.array(relu["latents"])),
        "MMCS (top), share of dead latents (bottom)",
        columns=len(titled),
        x="L1 coefficient",
        y="latents",
        ticks=relu["latents"],
    )


def recovery(numbers: dict) -> Any:
    """Recovery against p, and ReLU beside top-k at the same number of active latents."""
    p, panel = np.array(numbers["p"]), figures.Panel
    relu, top_k, sizes = numbers["relu"], numbers["top_k"], list(numbers["relu"]["latents"])
    against = {f"ReLU, {k} latents": (p, numbers["best"]["relu"]["mmcs"][:, j]) for j, k in enumerate(sizes) if k > 16}
    for j, k in enumerate(top_k["latents"]):
        against[f"top-k, {k} latents"] = (p, numbers["best"]["top_k"]["mmcs"][:, j])
    against[f"random, {sizes[-1]}"] = (p, np.array(numbers["random"][str(sizes[-1])]))
    against["nearest other feature"] = (p, np.array(numbers["toy"]["interference"]))
    parts = [panel("best L1 or k", PROBABILITY, MMCS, against, limits=(0, 1.03), legend=(0.02, 0.23))]
    for shown in SHOWN:
        k = int(np.abs(np.log(p / shown)).argmin())
        dots = {}
        for name, found in (("ReLU", relu), ("top-k", top_k)):
            for size in top_k["latents"]:
                j = list(found["latents"]).index(size)
                dots[f"{name}, {size} latents"] = (found["active"][k, :, j], found["mmcs"][k, :, j])
        marks = {"active features": p[k] * numbers["features"]}
        parts.append(panel(f"p = {p[k]:g}", ACTIVE, MMCS, {}, dots, marks, limits=(0, 1.03), legend="lower right"))
    return figures.panels(parts)


def recovered(numbers: dict) -> str:
    """What the autoencoders of best L1 coefficient and best k recover, for every probability and the largest sizes."""
    found = numbers
    rows: Rows = []
    for k, p in enumerate(found["p"]):
        for kind, name in (("relu", "ReLU"), ("top_k", "top-k")):
            pick = found["best"][kind]
            for j, size in enumerate(found[kind]["latents"]):
                if size < found["features"]:
                    continue
                swept = pick["swept"][k][j]
                rows.append(
                    [
                        f"{p:g}",
                        name,
                        str(size),
                        f"l1 = {swept:.2g}" if kind == "relu" else f"k = {swept:g}",
                        f"{pick['mmcs'][k][j]:.3f}",
                        f"{pick['recovered'][k][j]:.0%}",
                        f"{found['random'][str(size)][k]:.3f}",
                        f"{pick['dead'][k][j]:.0%}",
                        f"{pick['copies'][k][j]:.0%}",
                        f"{pick['active'][k][j]:.1f}",
                        f"{pick['unexplained'][k][j]:.1%}",
                    ]
                )
    head = [
        "p",
        "kind",
        "latents",
        "best",
        "MMCS",
        "recovered",
        "random MMCS",
        "dead",
        "copies",
        "active",
        "unexplained",
    ]
    return table(head, rows)


def setting(numbers: dict) -> str:
    """Published | ours: the setting, and what is claimed."""
    found = numbers
    n, m, relu = found["features"], found["hidden"], found["relu"]
    k, size = int(np.argmax(np.max([row[:] for row in last(relu)], axis=1))), relu["latents"][-1]
    ours = max(last(relu)[k])
    l1, seen = relu["swept"], found["steps"] * found["batch"]
    rows: Rows = [
        ["features, dimensions", "512 random unit directions in 256", f"{n} learned directions in {m}"],
        [
            "active features per sample",
            "5, probabilities falling as 0.99^i",
            ", ".join(f"{p * n:.2g}" for p in found["p"]),
        ],
        ["values of active features", "uniform", "uniform"],
        ["latents / features", "1/4 to 32", ", ".join(f"{k / n:g}" for k in relu["latents"])],
        [
            "L1 coefficient, on the published scale",
            "0.01 to 100",
            f"{l1[0]:g} to {l1[-1]:g}: {l1[0] * size / m:.2g} to {l1[-1] * size / m:.2g} at {size} latents",
        ],
        ["training", "Adam 1e-3, batch 4096", f"Adam 1e-2 to 0, batch {found['batch']}, {seen:,} samples"],
        [
            "are the features found?",
            "yes (text; heat maps of MMCS)",
            f"yes: MMCS {ours:.3f} at p = {found['p'][k]:g} with {size} latents",
        ],
    ]
    return table(["", "published", "ours"], rows)


def last(found: dict) -> list:
    """MMCS (p, swept) of the largest dictionary."""
    return [[sizes[-1] for sizes in row] for row in found["mmcs"]]


STUDY = Study("autoencoders", make, RUNS, {"recovered": recovered, "setting": setting})
