"""Kinds: everything that a spec chooses by name, with one file and one registry per kind.

Activations, values, activities, families, measures, optimizers, schedules and studies. An entry holds functions, known
facts about them, the options that it adds to a spec, and a sentence for help and documentation. Users add entries with
`add_...`, from a notebook or from a file that a spec imports. jax is imported only inside functions that need it, so
names, help and stored runs work without it. Imports no other room.
"""

from tmsjax.errors import first_line
from tmsjax.kinds import arrays, heads, measures, trial
from tmsjax.kinds.activations import ACTIVATIONS, Activation, add_activation, elementwise
from tmsjax.kinds.activities import ACTIVITIES, ANY_NUMBER, Activity, add_activity
from tmsjax.kinds.drawn import Drawn, drawn_by
from tmsjax.kinds.families import FAMILIES, Family, add_family
from tmsjax.kinds.imports import Imported, execute, located
from tmsjax.kinds.measures import MEASURES, REPRESENTED, SUCCESS, add_measure
from tmsjax.kinds.optimizers import OPTIMIZERS, Optimizer
from tmsjax.kinds.registry import RESERVED, RESERVED_PREFIXES, Option, Registry, called
from tmsjax.kinds.schedules import SCHEDULES, Schedule
from tmsjax.kinds.studies import REPLICA, STUDIES, add_study, draws, mappable, misfit, suited, without_lengths
from tmsjax.kinds.values import VALUES, Values, add_values

REGISTRIES: dict[str, Registry] = {
    "model.family": FAMILIES,
    "model.activation": ACTIVATIONS,
    "data.activity": ACTIVITIES,
    "data.values": VALUES,
    "train.optimizer": OPTIMIZERS,
    "train.schedule": SCHEDULES,
    "record.measures": MEASURES,
    "study.kind": STUDIES,
}  # registries by the spec key that names an entry

__all__ = [
    "ACTIVATIONS",
    "ACTIVITIES",
    "ANY_NUMBER",
    "FAMILIES",
    "MEASURES",
    "OPTIMIZERS",
    "REGISTRIES",
    "REPLICA",
    "REPRESENTED",
    "RESERVED",
    "RESERVED_PREFIXES",
    "SCHEDULES",
    "STUDIES",
    "SUCCESS",
    "VALUES",
    "Activation",
    "Activity",
    "Drawn",
    "Family",
    "Imported",
    "Optimizer",
    "Option",
    "Registry",
    "Schedule",
    "Values",
    "add_activation",
    "add_activity",
    "add_family",
    "add_measure",
    "add_study",
    "add_values",
    "arrays",
    "called",
    "drawn_by",
    "draws",
    "elementwise",
    "execute",
    "first_line",
    "heads",
    "located",
    "mappable",
    "measures",
    "misfit",
    "suited",
    "trial",
    "without_lengths",
]
