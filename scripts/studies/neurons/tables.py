"""The tables of the study's text."""

from __future__ import annotations

from studies.reporting import Rows, Tables, percent, table


def privileged(numbers: dict) -> str:
    """Neurons of the privileged basis by probability."""
    found = numbers["privileged"]
    rows: Rows = []
    for k, p in enumerate(found["probability"]):
        mono, poly = (found["classes"][name][k] for name in ("monosemantic", "polysemantic"))
        code = f"{found['coded'][k]} in {poly}" if poly else "none"
        share = percent((found["shares"][k][1], found["as_best"][k], found["reach"][k]))
        rows.append([f"{p:g}", str(mono), code, *share])
    head = ["p", "monosemantic neurons, best model", "features in polysemantic neurons", "monosemantic, all seeds"]
    return table([*head, "seeds with as many as the best", "seeds within 1 % of its loss"], rows)


def absolute(numbers: dict) -> str:
    """Neurons of models of the absolute value, and features with one neuron a side."""
    rows: Rows = []
    for key, name in (("n3_6", "(3, 6)"), ("n6_10", "(6, 10)"), ("n100_40", "(100, 40)")):
        found = numbers[key]
        for k, p in enumerate(found["probability"]):
            counts = (str(found["classes"][kind][k]) for kind in ("monosemantic", "polysemantic", "dead"))
            shares = percent((found["shares"][k][1], found["complete"][k]))
            rows.append([name, f"{p:.2g}", *counts, str(found["best_two_sided"][k]), shares[0], shares[1]])
    head = ["n, m", "p", "monosemantic, best model", "polysemantic", "dead", "features with one neuron a side"]
    return table([*head, "monosemantic, all seeds", "seeds with m / 2 such features"], rows)


def motifs(numbers: dict) -> str:
    """Motifs and their weights by size and probability."""
    rows: Rows = []
    for key, name in (("n3_6", "(3, 6)"), ("n6_10", "(6, 10)"), ("n100_40", "(100, 40)")):
        found = numbers[key]
        for k, p in enumerate(found["probability"]):
            if (one := found["weights"][k]) is None:
                continue
            sizes = [
                f"{one[side][i]:.2f} ± {one[f'{side}_spread'][i]:.2f}" for side in ("reads", "writes") for i in (0, 1)
            ]
            models = f"{found['with_motif'][k]} of {found['seeds']}"
            counts = [models, f"{found['motifs'][k]} of {found['pairs'][k]}", str(found["in_best"][k])]
            rows.append([name, f"{p:.2g}", *counts, *sizes, *percent((one["opposite"], one["near"], one["elsewhere"]))])
    head = ["n, m", "p", "models with a motif", "motifs, of asymmetric pairs", "in the best model"]
    head += [
        "reads, strong",
        "weak",
        "writes, strong",
        "weak",
        "opposite signs",
        "near the paper's",
        "inhibited elsewhere",
    ]
    return table(head, rows)


TABLES: Tables = {f.__name__: f for f in (privileged, absolute, motifs)}
