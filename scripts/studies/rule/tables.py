"""The tables of the study's text."""

from __future__ import annotations

from studies.reporting import Rows, Tables, percent, table

from tmsjax.theory import INTERFERENCE


def ratios(numbers: dict) -> str:
    found = numbers["map"]
    rows = [[f"{name} theory", *percent(shares)] for name, shares in found["by_mean"].items()]
    rows.append(["cells in superposition", *percent(found["shared"])])
    return table(["mean probability", *(f"{p:g}" for p in found["mean"])], rows)


TESTS = {
    "rule_5_2": "(5, 2), many orders",
    "rule_80_20": "(80, 20), many orders",
    "nonuniform_5_2": "(5, 2), four cases",
    "nonuniform_80_20": "(80, 20), four cases",
}


def rule(numbers: dict) -> str:
    rows = []
    for key, text in TESTS.items():
        found = numbers["tests"][key]
        shares = percent((found["agreement"], found["represented"], found["agreement_of_all"]))
        rows.append([text, f"{found['models']:,}", *shares, *percent(found["order"].values())])
    order = [f"order by {name}" for name in numbers["tests"]["rule_5_2"]["order"]]
    return table(["models", "compared", "class right", "represented right", "class right, all seeds", *order], rows)


def confusion(numbers: dict) -> str:
    rows = []
    for key in ("rule_5_2", "rule_80_20"):
        for name, counts in zip(INTERFERENCE, numbers["tests"][key]["confusion"], strict=True):
            rows.append([TESTS[key], name, *(f"{v:,}" for v in counts)])
    return table(["models", "theory", *(f"trained {name}" for name in INTERFERENCE)], rows)


def by_mean(numbers: dict) -> str:
    rows = []
    for key, found in numbers["by_probability"].items():
        for k, p in enumerate(found["mean"]):
            theory, trained = found["counts"][k]
            shares = percent((found["agreement"][k], found["represented"][k]))
            rows.append([TESTS[key], f"{p:g}", *shares, f"{theory:.1f}", f"{trained:.1f}"])
    head = ["models", "mean probability", "class right", "represented right", "represented: theory", "trained"]
    return table(head, rows)


def dropped(numbers: dict) -> str:
    found = numbers["dropped"]
    independent, together = found["nonuniform_5_2"], found["nonuniform_5_2_tied"]
    rows: Rows = []
    for k, least in enumerate(independent["least"]):
        first = f"p >= {least:g}"
        rows.append([first, "p", *(f"{v:.3g}" for v in independent["probability"][k]), ""])
        rows.append([first, "v(p)", *(f"{v:.3g}" for v in independent["variance"][k]), ""])
        lost = "; ".join(_absent(independent[key][k]) for key in ("theory", "best"))
        rows.append([first, "represented, independent", *(f"{v:.0%}" for v in independent["share"][k]), lost])
        rows.append([first, "represented, active together", *(f"{v:.0%}" for v in together["share"][k]), ""])
    return table(["", "", *(f"feature {i + 1}" for i in range(5)), "dropped: theory; best model"], rows)


def _absent(classes: list[int]) -> str:
    return ", ".join(str(i + 1) for i, value in enumerate(classes) if value == 0) or "none"


def worth(numbers: dict) -> str:
    found = numbers["worth"]
    rows: Rows = []
    for k, least in enumerate(found["least"]):
        first = f"p >= {least:g}"
        for key, name in (("probability", "p"), ("importance", "I"), ("cost", "I v(p)")):
            rows.append([first, name, *(f"{v:.3g}" for v in found[key][k]), ""])
        lost = "; ".join(_absent(found[key][k]) for key in ("theory", "best"))
        rows.append([first, "represented", *(f"{v:.0%}" for v in found["share"][k]), lost])
    return table(["", "", *(f"feature {i + 1}" for i in range(5)), "dropped: theory; best model"], rows)


TABLES: Tables = {f.__name__: f for f in (ratios, rule, confusion, by_mean, dropped, worth)}
