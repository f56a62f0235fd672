"""Keys of earlier versions, which are read as the entries that replaced them. No jax.

Stored specs of format 3 and users' files may have them. Hashes still contain them in place of the entries, so that the
hash of a spec, and with it the name of its run, is that of 0.11.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

POLYGON = ("polygon", "polygon_norm", "polygon_bias")


def renewed(raw: dict, tell: Callable[[str], None]) -> dict:
    """`raw` with entries instead of old keys; `tell` gets a line for each that has an effect."""
    if not all(isinstance(raw.get(table, {}), dict) for table in ("init", "data", "train", "loss")):
        return raw  # reported by the loader
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    init, data, train = (raw.get(table, {}) for table in ("init", "data", "train"))
    if (signs := init.pop("signs", "random")) != "random":
        init["rule"] = signs
        tell(f'init.signs = "{signs}" is now: init.rule = "{signs}"')
    if init.get("polygon") == 0 and init.get("rule") != "polygon":
        for key in POLYGON:
            init.pop(key, None)
    if "polygon" in init and init.get("rule", "random") == "random":
        init["rule"] = "polygon"
        tell('init.polygon needs: init.rule = "polygon"')
    if (masks := data.pop("masks_per_batch", 0)) != 0:
        data |= {"sampler": "shared-masks", "masks": masks}
        tell(f'data.masks_per_batch is now: data.sampler = "shared-masks", data.masks = {masks}')
    for key in ("file", "run"):
        if key in data:
            data.setdefault("sampler", key)
    if (attack := train.pop("attack", 0)) != 0:
        raw["loss"] = {**raw.get("loss", {}), "kind": "attacked", "radius": attack}
        tell(f'train.attack is now: loss.kind = "attacked", loss.radius = {json.dumps(attack, default=str)}')
    return raw


def hashed(content: dict[str, Any]) -> None:
    """Replaces entries by the old keys in a spec's plain dict."""
    init, data, train = content["init"], content["data"], content["train"]
    rule = init.pop("rule", "random")
    init["signs"] = rule if rule != "polygon" else "random"
    masks = data.pop("masks", 0)
    data["masks_per_batch"] = masks
    if data.get("sampler") in ("shared-masks", "run"):
        data.pop("sampler")
    loss = content.get("loss", {})
    if loss.get("kind") == "attacked":
        train["attack"] = loss["radius"]
        content.pop("loss")
