"""The tables of the study, from its numbers."""

from __future__ import annotations

from studies.reporting import Tables, percent, table

RULES = {"best": "best loss", "paper": "mean without the worst", "vote": "vote", "single": "one model"}


def jump(numbers: dict) -> str:
    j = numbers["exact"]["jump"]
    head = ["r", "candidate p", "jump p", "onset p", "w major", "w minor", "b major", "b minor", "w minor outside"]
    rows = []
    for k, ratio in enumerate(j["ratio"]):
        onset = f"{j['onset'][k]:.3f}" if j["onset"][k] > j["probability"][k] else ""
        models = [f"{v:.3f}" for v in (*j["inside"][k], j["outside"][k][1])]
        rows.append([f"{ratio:g}", f"{j['candidate'][k]:.4f}", f"{j['probability'][k]:.4f}", onset, *models])
    return table(head, rows)


def rules(numbers: dict) -> str:
    s = numbers["selection"]
    some = [k for k, count in enumerate(s["counts"]) if count in (1, 2, 3, 4, 8, 10, 16, 32)]
    names = {**RULES, "stratified": "best loss, stratified signs"}
    head = ["rule", *(f"K = {s['counts'][k]}" for k in some)]
    return table(head, [[text, *percent(s["agreement"][name][k] for k in some)] for name, text in names.items()])


def signs(numbers: dict) -> str:
    by = numbers["selection"]["signs"]
    regions = {"near": "superposition, r in [1/2, 2]", "far": "superposition, other r", "elsewhere": "no superposition"}
    rows = []
    for key, text in regions.items():
        random, even = by["random"][key], by["stratified"][key]
        rows.append([text, *percent((random["opposite"], random["equal"], random["all"], even["all"]))])
    return table(
        ["cells", "w1 w2 < 0 at init", "w1 w2 > 0 at init", "all, random signs", "all, stratified signs"], rows
    )


def scales(numbers: dict) -> str:
    head = ["init scale", "all cells", "superposition, r in [1/2, 2]", "there, w1 w2 < 0 at init", "there, w1 w2 > 0"]
    keys = ("all", "near", "opposite", "equal")
    found = numbers["selection"]["scales"]["rows"]
    return table(head, [[f"{row['scale']:g}", *percent(row[k] for k in keys)] for row in found])


def zroe1(numbers: dict) -> str:
    z = numbers["zroe1"]
    names = {
        "relu": "ReLU, independent",
        "relu-tied": "ReLU, the replication's data",
        "linear": "linear, independent",
        "linear-tied": "linear, the replication's data",
    }
    rows = []
    for name, text in names.items():
        f = z[name]
        published = f"{z['published'][name.split('-')[0]]:.4f}" if name.endswith("tied") else ""
        shares = percent((f["agreement"], f["neither"]))
        rows.append([text, f"{f['models']:,}", *shares, f"{f['mean_loss_with_zeros']:.4f}", published])
    return table(["", "models", "cells as in candidate theory", "cells neither", "mean loss", "published"], rows)


def budget(numbers: dict) -> str:
    rows = []
    for schedule, least in numbers["budget"]["least"].items():
        for by, row in least.items():
            found = ["none reaches it", "", "", "", ""]
            if row is not None:
                sizes = [f"{row[key]:,}" for key in ("samples", "steps", "batch")]
                found = [*sizes, f"{row['rate']:g}", f"{row['agreement']:.2%}"]
            rows.append([schedule, f"fewest {by}", *found])
    return table(["schedule", "", "samples a model", "steps", "batch", "learning rate", "agreement"], rows)


def rates(numbers: dict) -> str:
    chosen = [row for row in numbers["budget"]["rows"] if (row["schedule"], row["batch"]) == ("cosine", 64)]
    columns = sorted({row["rate"] for row in chosen})
    by = {(row["steps"], row["rate"]): row["agreement"] for row in chosen}
    steps = sorted({row["steps"] for row in chosen})
    rows = [[f"{count:,}", *percent(by[count, rate] for rate in columns)] for count in steps]
    return table(["steps", *(f"rate {rate:g}" for rate in columns)], rows)


def activations(numbers: dict) -> str:
    rows = []
    for name, f in numbers["activations"].items():
        own = f"{f['candidate']:.1%}" if "candidate" in f else "none known"
        shares = percent((f["shares"]["antipodal"], f["shares"]["same sign"], f["success"]))
        rows.append([name, own, *shares])
    return table(["model", "cells as in its candidate theory", "antipodal", "same sign", "inits that succeed"], rows)


TABLES: Tables = {f.__name__: f for f in (jump, rules, signs, scales, zroe1, budget, rates, activations)}
