"""The training set of one instance, as the engine draws it."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from tmsjax.engine import streams
from tmsjax.engine.streams import Shared
from tmsjax.kinds.arrays import Array
from tmsjax.models import bind, instances
from tmsjax.models import training_set as of_instance
from tmsjax.spec import SAMPLES, Box, Spec, option_quantities


def training_set(spec: Spec, **position: int) -> Float[np.ndarray, "samples feature"]:
    """The features x of the samples that one instance trains on, float32.

    A function of the seed and the instance's identity (with streams = "shared", of the seed alone). Equal to what
    training sees up to rounding.

    Args:
        spec: The sweep.
        position: Along each axis of the spec; 0 where it is not given.

    Raises:
        ValueError: There is no such axis or position, or the instance trains on fresh samples.

    Examples:
        >>> tmsjax.training_set(tmsjax.load_spec(spec, ["data.samples=5"]), replica=1).shape
        (5, 2)
    """
    table = instances(spec, Box.at(spec.axis, position))
    samples = int(table.options[SAMPLES][0]) if SAMPLES in option_quantities(spec) else 0
    if not samples:
        raise ValueError("this instance trains on fresh samples at every step (data.samples is 0)")
    row = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[0]), table)
    batch, problem, shared = spec.train.batch, bind(spec), Shared.of(spec.seed, spec.train.steps)
    words = streams.words(0, shared, problem)

    def of_step(step: int) -> Float[Array, "batch feature"]:
        offset = streams.offset(step, row, shared, problem)
        assert isinstance(offset, jax.Array)  # as the instance is
        return jax.vmap(lambda word: problem.sample(of_instance.member(word, offset, batch)[0], row))(words)

    parts = -(-samples // batch)
    out = np.empty((samples, spec.inputs), np.float32)
    for k in range(parts):
        out[k::parts] = of_step(k)[: len(out[k::parts])]
    return out
