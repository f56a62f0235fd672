"""The text of docs/phase_changes.md from its template and the results: tables, numbers in sentences."""

from __future__ import annotations

import re
from typing import Any

RULES = {"best": "best loss", "paper": "mean without the worst", "vote": "vote", "single": "one model"}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def tables(numbers: dict) -> dict[str, str]:
    """The report's tables in Markdown, from the results."""
    out = {}
    if "exact" in numbers:
        j = numbers["exact"]["jump"]
        rows = []
        for k, ratio in enumerate(j["ratio"]):
            onset = f"{j['onset'][k]:.3f}" if j["onset"][k] > j["probability"][k] else ""
            inside = [f"{v:.3f}" for v in j["inside"][k]]
            rows.append(
                [
                    f"{ratio:g}",
                    f"{j['candidate'][k]:.4f}",
                    f"{j['probability'][k]:.4f}",
                    onset,
                    *inside,
                    f"{j['outside'][k][1]:.3f}",
                ]
            )
        head = ["r", "candidate p", "jump p", "onset p", "w major", "w minor", "b major", "b minor", "w minor outside"]
        out["jump"] = table(head, rows)
    if "selection" in numbers:
        s = numbers["selection"]
        names = {**RULES, "stratified": "best, stratified signs"}
        some = [k for k, count in enumerate(s["counts"]) if count in (1, 2, 3, 4, 8, 10, 16, 32)]
        head = ["rule", *(f"K = {s['counts'][k]}" for k in some)]
        out["rules"] = table(
            head, [[text, *(f"{s['agreement'][n][k]:.1%}" for k in some)] for n, text in names.items()]
        )
        head = [
            "init scale",
            "all cells",
            "superposition, r in [1/2, 2]",
            "of these w1 w2 < 0 at init",
            "w1 w2 > 0 at init",
        ]
        keys = ("all", "near", "opposite", "equal")
        out["scales"] = table(
            head, [[f"{row['scale']:g}", *(f"{row[k]:.1%}" for k in keys)] for row in s["scales"]["rows"]]
        )
        regions = {
            "near": "superposition, r in [1/2, 2]",
            "far": "superposition, other r",
            "elsewhere": "no superposition",
        }
        head = ["cells", "w1 w2 < 0 at init", "w1 w2 > 0 at init", "all, random signs", "all, stratified signs"]
        rows = []
        for key, text in regions.items():
            random, even = s["signs"]["random"][key], s["signs"]["stratified"][key]
            rows.append(
                [text, *(f"{v:.1%}" for v in (random["opposite"], random["equal"], random["all"], even["all"]))]
            )
        out["signs"] = table(head, rows)
    if "zroe1" in numbers:
        z = numbers["zroe1"]
        rows = []
        for name, text in (
            ("relu", "ReLU, independent"),
            ("relu-tied", "ReLU, his data"),
            ("linear", "linear, independent"),
            ("linear-tied", "linear, his data"),
        ):
            f = z[name]
            published = f"{z['published'][name.split('-')[0]]:.4f}" if name.endswith("tied") else ""
            rows.append(
                [
                    text,
                    f"{f['models']:,}",
                    f"{f['agreement']:.1%}",
                    f"{f['neither']:.1%}",
                    f"{f['mean_loss_with_zeros']:.4f}",
                    published,
                ]
            )
        head = ["", "models", "cells as in theory", "cells neither", "mean loss", "published"]
        out["zroe1"] = table(head, rows)
    if "budget" in numbers:
        rows = []
        for schedule, least in numbers["budget"]["least"].items():
            for by in ("samples", "steps"):
                row = least[by]
                found = (
                    ["not reached", "", "", "", ""]
                    if row is None
                    else [
                        f"{row['samples']:,}",
                        f"{row['steps']:,}",
                        str(row["batch"]),
                        f"{row['rate']:g}",
                        f"{row['agreement']:.2%}",
                    ]
                )
                rows.append([schedule, f"fewest {by}", *found])
        out["budget"] = table(["schedule", "", "samples a model", "steps", "batch", "learning rate", "agreement"], rows)
    if "activations" in numbers:
        rows = []
        for name, f in numbers["activations"].items():
            own = f"{f['candidate']:.1%}" if "candidate" in f else "none"
            shares = [f"{f['shares'][k]:.1%}" for k in ("antipodal", "same sign")]
            rows.append([name, own, *shares, f"{f['success']:.1%}"])
        head = ["model", "cells as in its candidate theory", "antipodal", "same sign", "inits within 1 % of the best"]
        out["activations"] = table(head, rows)
    return out


def render(template: str, numbers: dict) -> str:
    """The template with {{section.name:format}} and {{table name}} filled in; what is not known yet is an n/a."""
    made = tables(numbers)

    def fill(found: re.Match) -> str:
        text = found[1].strip()
        if text.startswith("table "):
            return made.get(text[6:], "n/a")
        path, _, spec = text.partition(":")
        value: Any = numbers
        for part in path.split("."):
            if isinstance(value, list):
                value = value[int(part)]
            elif part in value:
                value = value[part]
            else:
                return "n/a"
        return format(value, spec)

    return re.sub(r"\{\{(.+?)\}\}", fill, template)
