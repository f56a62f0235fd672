"""The tables of the study's text."""

from __future__ import annotations

from studies.reporting import Rows, Tables, percent, table


def stored(numbers: dict) -> str:
    """Relations stored by rank and probability, with and without ReLU."""
    found = numbers["rank"]
    rows: Rows = []
    for d, one in found.items():
        rows.append([d, "stored", *(str(v) for v in one["stored"])])
        rows.append([d, "stored without ReLU", *(str(v) for v in one["linear"])])
        rows.append([d, "loss / without ReLU", *(f"{v:.2f}" for v in one["loss_over_linear"])])
    return table(["rank", "", *(f"p = {p:.2g}" for p in found["1"]["probability"])], rows)


def cross(numbers: dict) -> str:
    """Cross terms between stored relations, and singular vectors, at the sparsest probability."""
    found = numbers["rank"]
    rows = [
        [
            d,
            str(one["stored"][-1]),
            *percent(one["cross"][-1].values()),
            f"{one['singular'][-1]:.2f}",
            f"{one['singular'][0]:.2f}",
            "{:.2f} ± {:.2f}".format(*numbers["random"][d]),
        ]
        for d, one in found.items()
    ]
    signs = [f"cross terms {name}" for name in ("negative", "about 0", "positive")]
    p = found["1"]["probability"]
    scores = [f"singular score, p = {p[-1]:.2g}", f"p = {p[0]:.2g}", "random"]
    return table(["rank", "stored", *signs, *scores], rows)


def output(numbers: dict) -> str:
    """What W_QK and W_OV store by rank and probability."""
    found = numbers["output"]
    rows: Rows = []
    for m, one in found.items():
        rows.append([m, "relations in W_QK", *(str(v) for v in one["relations"])])
        rows.append([m, "outputs in W_OV", *(str(v) for v in one["outputs"])])
        for name, text in (("QK", "columns of W_QK with a negative entry"), ("OV", "the same of W_OV")):
            rows.append([m, text, *(str(v) for v in one["negative"][name])])
    return table(["rank of W_OV", "stored", *(f"p = {p:.2g}" for p in found["1"]["probability"])], rows)


TABLES: Tables = {f.__name__: f for f in (stored, cross, output)}
