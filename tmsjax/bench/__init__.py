"""Bench: how fast the engine is, beside other ways to train the same models and beside the machine's own rates.

suite.py runs every way of competitors.py in a process of its own, in alternating rounds; bound.py measures the machine
and counts operations; throughput.py measures the engine over sizes and ways to cut a sweep.
"""

from tmsjax.bench import throughput
from tmsjax.bench.suite import WORKLOADS, Workload, run_suite

__all__ = ["WORKLOADS", "Workload", "run_suite", "throughput"]
