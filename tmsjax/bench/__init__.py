"""Bench: how fast the engine is, compared with other ways to train the same models and with the machine's own rates.

suite.py runs each way of competitors.py in its own process, in alternating rounds. bound.py measures the machine and
counts operations. throughput.py measures the engine over sweep sizes and over ways to split a sweep.
"""

from tmsjax.bench import throughput
from tmsjax.bench.suite import WORKLOADS, Workload, run_suite

__all__ = ["WORKLOADS", "Workload", "run_suite", "throughput"]
