"""The tables of the study's text."""

from __future__ import annotations

from studies.reporting import Rows, Tables, percent, table

RARE = 0.05  # orders of stages of fewer seeds are left out


def jumps(numbers: dict) -> str:
    """Jumps after the initial phase, and the loss, by seed."""
    rows: Rows = []
    for k, row in enumerate(numbers["levels"]["seeds"]):
        where = ", ".join(f"{a:,} to {b:,}" for a, b in row["late_steps"]) or "none"
        drop = f"{row['largest_drop']:.3f} at {row['largest_drop_steps'][0]:,}"
        shares = percent((row["in_jumps"], row["by_chance"]))
        cells = [str(row["jumps"]), f"{row['first_step']:,}", where, drop, *shares, f"{row['correlation']:.2f}"]
        rows.append([str(k + 1), *cells, f"{row['loss']:.3f}"])
    head = ["seed", "jumps", "initial phase ends", "later jumps at steps", "largest later drop of the loss"]
    return table([*head, "later decrease in jumps", "by chance", "correlation", "last loss"], rows)


def levels(numbers: dict) -> str:
    """The share of dimensionalities at each level at the end."""
    found = numbers["levels"]
    return table(
        ["level", *found["levels"], "none"], [["features", *percent([*found["levels"].values(), found["at_no_level"]])]]
    )


def stages(numbers: dict) -> str:
    """Stages on the way to the octahedron."""
    rows: Rows = []
    for found in (v for k, v in numbers["octahedron"].items() if k.startswith("scale_")):
        for row in found["stages"]:
            if row["share"]:
                losses = [f"{row[key]:.5f}" for key in ("loss", "last_loss")]
                facts = [f"{row['share']:.0%}", f"{row['begins']:,.0f}", *losses, f"{row['axes']:.2f}"]
                rows.append([f"{found['scale']:g}", row["stage"], *facts])
    return table(
        [
            "init scale",
            "stage",
            "seeds",
            "begins at step",
            "loss at its start",
            "loss at its end",
            "cosine of the sets' sums",
        ],
        rows,
    )


def ways(numbers: dict) -> str:
    """Orders of stages, with the share of seeds."""
    rows = [
        [f"{found['scale']:g}", way, f"{share:.0%}"]
        for key, found in numbers["octahedron"].items()
        if key.startswith("scale_")
        for way, share in found["ways"].items()
        if share >= RARE
    ]
    return table(["init scale", "stages in order of first appearance", "seeds"], rows)


TABLES: Tables = {f.__name__: f for f in (jumps, levels, stages, ways)}
