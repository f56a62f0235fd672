"""How fast the engine is, beside other ways to train the same models and the machine's own rates.

suite.py runs each way of competitors.py in its own process, in alternating rounds. bound.py measures the machine and
counts operations. throughput.py measures the engine over sweep sizes. first.py times cold processes, which run cold.py.
`bash scripts/bench.sh` runs them.
"""
