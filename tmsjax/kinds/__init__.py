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
from tmsjax.kinds.families import FAMILIES, Family, add_family, scaled_normals
from tmsjax.kinds.imports import Imported, execute, located
from tmsjax.kinds.inits import INITS, Init, add_init
from tmsjax.kinds.losses import GIVEN, LOSSES, Loss, add_loss
from tmsjax.kinds.measures import MEASURES, REPRESENTED, SUCCESS, add_measure
from tmsjax.kinds.optimizers import OPTIMIZERS, Optimizer, add_optimizer
from tmsjax.kinds.registry import RESERVED, RESERVED_PREFIXES, Fixed, Option, Registry, called, positional, takes
from tmsjax.kinds.samplers import SAMPLERS, Sampler, add_sampler, one_per_feature
from tmsjax.kinds.schedules import SCHEDULES, Schedule, add_schedule
from tmsjax.kinds.studies import REPLICA, STUDIES, add_study, draws, mappable, misfit, suited, without_lengths
from tmsjax.kinds.values import VALUES, Values, add_values

REGISTRIES: dict[str, Registry] = {
    "model.family": FAMILIES,
    "model.activation": ACTIVATIONS,
    "data.activity": ACTIVITIES,
    "data.values": VALUES,
    "data.sampler": SAMPLERS,
    "init.rule": INITS,
    "loss.kind": LOSSES,
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
    "GIVEN",
    "INITS",
    "LOSSES",
    "MEASURES",
    "OPTIMIZERS",
    "REGISTRIES",
    "REPLICA",
    "REPRESENTED",
    "RESERVED",
    "RESERVED_PREFIXES",
    "SAMPLERS",
    "SCHEDULES",
    "STUDIES",
    "SUCCESS",
    "VALUES",
    "Activation",
    "Activity",
    "Drawn",
    "Family",
    "Fixed",
    "Imported",
    "Init",
    "Loss",
    "Optimizer",
    "Option",
    "Registry",
    "Sampler",
    "Schedule",
    "Values",
    "add_activation",
    "add_activity",
    "add_family",
    "add_init",
    "add_loss",
    "add_measure",
    "add_optimizer",
    "add_sampler",
    "add_schedule",
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
    "one_per_feature",
    "positional",
    "scaled_normals",
    "suited",
    "takes",
    "trial",
    "without_lengths",
]
