"""Spec: what a sweep is. Parses TOML or a dict into frozen dataclasses, checks them, hashes them, writes them back.

A quantity is a number that may vary over axes and features (quantity.py). Tables are dataclasses and their keys fields
(tables.py), to which entries of registries add options (options.py). The loader reports every mistake at once. Imports
kinds, for the names that a spec may use, and no jax.
"""

from tmsjax.spec.boxes import Box, Boxes, Tiling, part_shape
from tmsjax.spec.html import description
from tmsjax.spec.html import table as html_table
from tmsjax.spec.loader import json_copy, load_spec, stored_spec
from tmsjax.spec.options import declared_options, sizes, static
from tmsjax.spec.quantity import Axis, axes_used, hash64, shown, suggest
from tmsjax.spec.source import Rows, Source, Stored
from tmsjax.spec.tables import (
    SAMPLES,
    SELECTIONS,
    TABLES,
    Data,
    Engine,
    Model,
    Record,
    Spec,
    Train,
    option_quantities,
    per_feature,
)
from tmsjax.spec.text import difference, extensions, grows, to_toml

__all__ = [
    "SAMPLES",
    "SELECTIONS",
    "TABLES",
    "Axis",
    "Box",
    "Boxes",
    "Data",
    "Engine",
    "Model",
    "Record",
    "Rows",
    "Source",
    "Spec",
    "Stored",
    "Tiling",
    "Train",
    "axes_used",
    "declared_options",
    "description",
    "difference",
    "extensions",
    "grows",
    "hash64",
    "html_table",
    "json_copy",
    "load_spec",
    "option_quantities",
    "part_shape",
    "per_feature",
    "shown",
    "sizes",
    "static",
    "stored_spec",
    "suggest",
    "to_toml",
]
