"""Spec: what a sweep is. TOML, or a dict, to frozen dataclasses that are checked as a whole; back to TOML; their hash.

Quantities are numbers over axes and features (quantity.py), tables and keys are dataclass fields (tables.py), and the
loader reports every mistake at once. No jax. Knows the kinds, whose names a spec uses.
"""

from tmsjax.errors import SpecError
from tmsjax.spec.html import description
from tmsjax.spec.html import table as html_table
from tmsjax.spec.loader import json_copy, load_spec, stored_spec
from tmsjax.spec.quantity import Axis, Curve, Select, axes_used, hash64, is_number, shown, suggest
from tmsjax.spec.tables import (
    SELECTIONS,
    TABLES,
    XAVIER,
    Checkpoint,
    Data,
    Engine,
    Model,
    Record,
    Spec,
    Study,
    Train,
    option_quantities,
    static,
    to_dict,
)
from tmsjax.spec.text import difference, grows, to_toml

__all__ = [
    "SELECTIONS",
    "TABLES",
    "XAVIER",
    "Axis",
    "Checkpoint",
    "Curve",
    "Data",
    "Engine",
    "Model",
    "Record",
    "Select",
    "Spec",
    "SpecError",
    "Study",
    "Train",
    "axes_used",
    "description",
    "difference",
    "grows",
    "hash64",
    "html_table",
    "is_number",
    "json_copy",
    "load_spec",
    "option_quantities",
    "shown",
    "static",
    "stored_spec",
    "suggest",
    "to_dict",
    "to_toml",
]
