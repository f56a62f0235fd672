"""How a notebook shows a spec: a table in HTML. Every text is escaped, since a spec may come from a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

LONGEST = 300  # characters of one text
SHOWN = 6  # values of an axis, half of them from each end


def description(spec: Any) -> dict[str, str]:
    """What a spec is, by the name of each fact: name, models, axes, model, training, data, hash."""
    model, train, data = spec.model, spec.train, spec.data
    across = " x ".join(f"{len(axis)} {axis.name}" for axis in spec.axes)
    batch = f"batches of {train.batch:,}" if train.loss == "sampled" else "exact loss"
    facts = {
        "name": spec.name,
        "models": f"{spec.instances:,}" + (f" = {across}" if across else ""),
        **{f"axis {axis.name}": _values(axis.values) for axis in spec.axes},
        "model": f"{model.family}, {model.activation}, {model.features:,} features, {model.hidden:,} hidden"
        + _options(model),
        "training": f"{train.steps:,} steps of {train.optimizer}, {batch}, {train.schedule} schedule"
        + _loss(spec.loss),
        "data": _data(data) + _options(data),
        "seed": str(spec.seed),
        "hash": spec.hash,
    }
    if spec.imports:
        facts["imports"] = ", ".join(spec.imports)
    if spec.study.kind is not None:
        facts["study"] = spec.study.kind
    return facts


def table(title: str, facts: Mapping[str, str], picture: str = "") -> str:
    """`facts` as a table under a title, and beside it a picture, the data of a PNG in base64. Escapes every text."""
    left = "text-align:left;vertical-align:top"
    rows = "".join(
        f'<tr><th style="{left}">{_text(name)}</th><td style="{left};word-break:break-word">{_text(fact)}</td></tr>'
        for name, fact in facts.items()
    )
    image = f'<img alt="" style="max-width:480px" src="data:image/png;base64,{escape(picture)}">' if picture else ""
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:1em"><table><caption style="{left}"><b>{_text(title)}</b>'
        f"</caption><tbody>{rows}</tbody></table>{image}</div>"
    )


def _text(value: str) -> str:
    return escape(value if len(value) <= LONGEST else f"{value[: LONGEST - 3]}...")


def _values(values: tuple) -> str:
    """The values of an axis; of many the first and the last."""
    half = SHOWN // 2
    shown = values if len(values) <= SHOWN else (*values[:half], f"... ({len(values):,} values)", *values[-half:])
    return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in shown)


def _loss(loss: Any) -> str:
    return "" if loss.kind == "square" else f", {loss.kind} loss" + _options(loss)


def _data(data: Any) -> str:
    features = f"{data.activity} activity, {data.values} values" if data.featured else ""
    return ", ".join(filter(None, ["" if data.sampler == "features" else data.sampler, features]))


def _options(part: Any) -> str:
    """Options that chosen entries add to a table: static ones with their values, quantities by their names."""
    texts = [f"{key} = {value}" if isinstance(value, (int, float, str)) else key for key, value in part.options]
    return f" ({', '.join(texts)})" if texts else ""
