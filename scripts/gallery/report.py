"""Makes the tables of docs/gallery.md from its numbers."""

from __future__ import annotations

from reporting import Rows, Tables, percent, table

from tmsjax.theory import INTERFERENCE


def intro(numbers: dict) -> str:
    rows = [
        [f"{row['probability']:.3g}", row["best"], f"{row['share']:.0%}", f"{row['represented']:.2f}"]
        for row in numbers["intro"]["rows"]
    ]
    return table(["feature probability", "best model", "seeds of that kind", "features represented, mean"], rows)


def basic(numbers: dict) -> str:
    rows: Rows = []
    for key, text in (("n20_5", "(20, 5)"), ("n80_20", "(80, 20)")):
        found = numbers["basic"][key]
        for name in ("dedicated", "shared"):
            rows.append([text, name, *(str(v) for v in found[name])])
        rows.append([text, "loss", *(f"{v:.3g}" for v in found["loss"])])
    head = [f"p = {p:.3g}" for p in numbers["basic"]["n20_5"]["probability"]]
    return table(["n, m", "", *head], rows)


def geometry(numbers: dict, section: str = "geometry") -> str:
    found = numbers[section]
    some = [name for name, counts in found["kinds"].items() if any(counts)]
    rows = []
    for k, inverse in enumerate(found["inverse"]):
        spread = f"{found['low'][k]:.3f} to {found['high'][k]:.3f}"
        rows.append([f"{inverse:.3g}", f"{found['best'][k]:.3f}", spread, *(str(found["kinds"][s][k]) for s in some)])
    return table(["1/p", "D\\*", "D\\* of all seeds", *some], rows)


def large(numbers: dict) -> str:
    return geometry(numbers, "large")


def frobenius(numbers: dict) -> str:
    return _of_cases(numbers, "n80_20", [("frobenius_mean", "mean", ".3f"), ("frobenius_max", "max", ".3f")])


def represented(numbers: dict) -> str:
    every = [("represented", "mean", ".1f"), ("represented_most", "max", ".0f"), ("best", "lowest loss", ".0f")]
    return _of_cases(numbers, "n80_20", every)


def five(numbers: dict) -> str:
    every = [("represented", "mean", ".2f"), ("best", "lowest loss", ".0f"), ("all", "all five", ".0%")]
    return _of_cases(numbers, "n5_2", every)


def _of_cases(numbers: dict, size: str, columns: list[tuple[str, str, str]]) -> str:
    """One row per case, with the columns (key, name, format) for each least probability."""
    found = numbers["nonuniform"][size]
    head = ["case", *(f"p >= {least:g}: {name}" for least in found["least"] for _, name, _ in columns)]

    def shown(key: str, c: int, k: int, form: str) -> str:
        values = found[key][c]
        return "" if values is None else format(values[k], form)

    rows = [
        [case, *(shown(key, c, k, form) for k in range(len(found["least"])) for key, _, form in columns)]
        for c, case in enumerate(found["cases"])
    ]
    return table(head, rows)


def ratios(numbers: dict) -> str:
    found = numbers["rule"]["map"]
    rows = [[f"{name} theory", *percent(shares)] for name, shares in found["by_mean"].items()]
    rows.append(["cells in superposition", *percent(found["shared"])])
    return table(["mean probability", *(f"{p:g}" for p in found["mean"])], rows)


TESTS = {
    "rule_5_2": "(5, 2), many orders",
    "rule_80_20": "(80, 20), many orders",
    "nonuniform_5_2": "(5, 2), section 4",
    "nonuniform_80_20": "(80, 20), section 4",
}


def rule(numbers: dict) -> str:
    rows = []
    for key, text in TESTS.items():
        found = numbers["rule"]["tests"][key]
        shares = percent((found["agreement"], found["represented"], found["agreement_of_all"]))
        rows.append([text, f"{found['models']:,}", *shares, *percent(found["order"].values())])
    order = [f"order by {name}" for name in numbers["rule"]["tests"]["rule_5_2"]["order"]]
    return table(["models", "compared", "class right", "represented right", "class right, all seeds", *order], rows)


def confusion(numbers: dict) -> str:
    rows = []
    for key in ("rule_5_2", "rule_80_20"):
        for name, counts in zip(INTERFERENCE, numbers["rule"]["tests"][key]["confusion"], strict=True):
            rows.append([TESTS[key], name, *(f"{v:,}" for v in counts)])
    return table(["models", "theory", *(f"trained {name}" for name in INTERFERENCE)], rows)


def by_mean(numbers: dict) -> str:
    rows = []
    for key, found in numbers["rule"]["by_probability"].items():
        for k, p in enumerate(found["mean"]):
            theory, trained = found["counts"][k]
            shares = percent((found["agreement"][k], found["represented"][k]))
            rows.append([TESTS[key], f"{p:g}", *shares, f"{theory:.1f}", f"{trained:.1f}"])
    head = ["models", "mean probability", "class right", "represented right", "represented: theory", "trained"]
    return table(head, rows)


def dropped(numbers: dict) -> str:
    found = numbers["rule"]["dropped"]
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
    found = numbers["rule"]["worth"]
    rows: Rows = []
    for k, least in enumerate(found["least"]):
        first = f"p >= {least:g}"
        for key, name in (("probability", "p"), ("importance", "I"), ("cost", "I v(p)")):
            rows.append([first, name, *(f"{v:.3g}" for v in found[key][k]), ""])
        lost = "; ".join(_absent(found[key][k]) for key in ("theory", "best"))
        rows.append([first, "represented", *(f"{v:.0%}" for v in found["share"][k]), lost])
    return table(["", "", *(f"feature {i + 1}" for i in range(5)), "dropped: theory; best model"], rows)


TABLES: Tables = {
    f.__name__: f
    for f in (
        intro,
        basic,
        geometry,
        large,
        frobenius,
        represented,
        five,
        ratios,
        rule,
        confusion,
        by_mean,
        dropped,
        worth,
    )
}
