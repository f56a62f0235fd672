"""Bench: how fast the engine is, beside other ways to train the same models and beside the machine's own rates.

The suite runs every way in a process of its own, in alternating rounds (suite.py, competitors.py); bound.py measures the
machine and counts operations; throughput.py measures the engine over sizes and ways to cut a sweep.
"""

from tmsjax.bench import throughput
from tmsjax.bench.suite import WORKLOADS, Workload, suite

__all__ = ["WORKLOADS", "Workload", "suite", "throughput"]
