#!/usr/bin/env bash
# Measures and checks tmsjax on this machine's GPU: agreement with the CPU, bit-exact resume, rates, the benchmark, and
# the one-neuron phase diagram. Uses the first GPU, or those that CUDA_VISIBLE_DEVICES names.
#   bash scripts/on_gpu.sh                        writes docs/benchmarks/DEVICE.json and DEVICE.md
#   bash scripts/on_gpu.sh --out DIR              writes them into DIR
#   bash scripts/on_gpu.sh --dry-run --out DIR    every step at tiny sizes on CPU, to test the script; a minute
# Exit codes: 0 all steps passed, 1 some failed (the files say which), 2 jax sees no GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
PYTHONPATH="$root/scripts" exec python -m on_gpu "$@"
