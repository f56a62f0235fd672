"""The part of a sweep that one run trains, and this process's blocks of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tmsjax.engine import Ensemble, Plan, TrainState
from tmsjax.errors import RunError
from tmsjax.runs import capacity, processes
from tmsjax.runs.shard import Shard
from tmsjax.spec import Spec


@dataclass(frozen=True)
class Part:
    """The instances of a run. `gather` and the losses are collective: all processes call them in the same order.

    rows:     the instances of this run: the whole sweep or a shard
    ensemble: this process's blocks of them
    """

    rows: range
    ensemble: Ensemble

    def gather(self, blocks: list) -> Any:
        """Gathers the blocks of all processes into one tree of numpy arrays (rows, ...)."""
        return processes.gathered(self.ensemble.gather(blocks))

    def losses(self, states: list[TrainState]) -> np.ndarray:
        """The noise-free loss of every instance of the run, (rows,)."""
        return processes.gathered(self.ensemble.noise_free_loss(states))

    def zero_model_losses(self) -> np.ndarray:
        """The loss of a model whose output is 0, for every instance of the run, (rows,)."""
        return processes.gathered(np.asarray(self.ensemble.zero_model_loss(), np.float32))

    def begin(self, state: TrainState | None, step: int) -> list[TrainState]:
        """Places the states after `step` on the devices and compiles. `state`: of all rows; None: initialise.

        Halves the number of blocks at once, with a warning, while memory does not suffice.
        """
        ensemble = self.ensemble
        mine = slice(ensemble.rows.start - self.rows.start, ensemble.rows.stop - self.rows.start)
        if state is not None:
            state = jax.tree.map(lambda x: x[mine] if np.ndim(x) else x, state)
        while True:
            try:
                states = ensemble.init() if state is None else ensemble.place(state)
                return ensemble.advance(states, step)
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                smaller = min(ensemble.tile // 2, ensemble.threads)
                if smaller == 0 or not _is_out_of_memory(error):
                    raise
            warnings.warn(f"memory does not hold {ensemble.tile} blocks at once; {smaller} from now on", stacklevel=5)
            states = []
            ensemble.shrink(smaller)


def take_part(spec: Spec, shard: Shard | None, cut: Plan | None = None) -> Part:
    """The part of this shard and process, with as many blocks at once as fit. `cut`: the plan of a resumed run.

    Raises RunError if there are fewer blocks than parts, or if memory does not suffice.
    """
    whole = Ensemble(spec, cut=cut)
    blocks, cut = range(whole.plan.blocks), whole.plan
    parts = (shard.count if shard else 1) * processes.count()
    if parts > len(blocks):
        raise RunError(
            f"{parts} shards or processes, but only {len(blocks)} blocks of {cut.block} instances: "
            f"set engine.block lower (bits depend on it)"
        )
    if shard:
        blocks = processes.share(blocks, shard.index - 1, shard.count)
    mine = processes.share(blocks, processes.index(), processes.count())
    ensemble = Ensemble(spec, cut=cut, part=mine, tile=min(spec.engine.tile, len(mine)))
    part = Part(cut.rows(blocks, spec.instances), ensemble)
    _fit(part)
    return part


def _fit(part: Part) -> None:
    """Chooses the number of blocks on the devices at once. Raises RunError if memory does not suffice."""
    with processes.agreeing():
        capacity.check_main_memory(part.ensemble, len(part.rows))
        if not part.ensemble.spec.engine.tile:
            part.ensemble.shrink(capacity.fitting_tile(part.ensemble))


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "ut of memory" in str(error)
