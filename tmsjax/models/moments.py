"""Moments of the inputs x, measured by simulation."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float64

from tmsjax.kinds.arrays import Array
from tmsjax.models.instance import Instance
from tmsjax.models.instances import instances
from tmsjax.models.problem import Problem, bind
from tmsjax.spec import Box, Spec

SAMPLES = 2**16
NUMBERS = 2**22  # of inputs at once


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of x (inputs,), and how often two inputs are both nonzero, each with its standard error.

    Attributes:
        mean, mean_error: (inputs,)
        covariance, covariance_error: (inputs, inputs)
        joint, joint_error: (inputs, inputs), the share of samples where both are nonzero
        samples: how many were drawn
    """

    mean: Float64[np.ndarray, "input"]
    mean_error: Float64[np.ndarray, "input"]
    covariance: Float64[np.ndarray, "input input"]
    covariance_error: Float64[np.ndarray, "input input"]
    joint: Float64[np.ndarray, "input input"]
    joint_error: Float64[np.ndarray, "input input"]
    samples: int


def moments(spec: Spec, samples: int = SAMPLES, **position: int) -> Moments:
    """The moments of the inputs of one instance, by simulation.

    Args:
        spec: The sweep.
        samples: How many to draw.
        position: Along each axis of the spec; 0 where it is not given.

    Raises:
        ValueError: There is no such axis or position.
        SpecError: The spec reads a run or a file, which only `run_sweep` does.

    Examples:
        >>> found = tmsjax.moments(tmsjax.load_spec(spec))
        >>> found.mean.shape, found.covariance.shape
        ((2,), (2, 2))
    """
    table = instances(spec, Box.at(spec.axis, position))
    return moments_of(bind(spec), jax.tree.map(lambda leaf: leaf[0], table), samples)


def moments_of(problem: Problem, row: Instance, samples: int = SAMPLES) -> Moments:
    """`moments` of one instance."""
    inputs, columns = problem.sizes["input"], problem.sampler.columns
    chunk = max(2, min(samples, NUMBERS // max(inputs, columns)))
    rng, draw = np.random.default_rng(0), jax.jit(jax.vmap(lambda bits: problem.sampler.sample(bits, row)))
    sums: list = [0.0] * 4
    done = 0
    while done < samples:
        bits = rng.integers(2**32, size=(chunk, columns), dtype=np.uint32)
        x = np.asarray(draw(bits), np.float64)
        nonzero = (x != 0).astype(np.float64)
        for k, term in enumerate((x.sum(0), x.T @ x, (x**2).T @ x**2, nonzero.T @ nonzero)):
            sums[k] = sums[k] + term
        done += chunk
    first, second, fourth, joint = (total / done for total in sums)
    covariance = second - np.outer(first, first)
    return Moments(
        mean=first,
        mean_error=_error(np.diagonal(second) - first**2, done),
        covariance=covariance,
        covariance_error=_error(fourth - second**2, done),
        joint=joint,
        joint_error=_error(joint * (1 - joint), done) + 1 / done,
        samples=done,
    )


def _error(variance: Array, samples: int) -> np.ndarray:
    return np.sqrt(np.clip(variance, 0, None) / samples)
