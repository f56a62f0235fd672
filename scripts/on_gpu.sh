#!/usr/bin/env bash
# Measures and checks tmsjax on this machine's GPU: agreement with the CPU, bit-exact resume, rates, the benchmark, and
# the one-neuron phase diagram. Uses the first GPU, or those that CUDA_VISIBLE_DEVICES names.
#   bash scripts/on_gpu.sh                        writes docs/benchmarks/DEVICE.json and DEVICE.md, anew after each step
#   bash scripts/on_gpu.sh --out DIR              writes them into DIR
#   bash scripts/on_gpu.sh --here                 uses the python3 on PATH and its jax, installs nothing
#   bash scripts/on_gpu.sh --minutes N            begins only steps that fit into N minutes, most telling first
#   bash scripts/on_gpu.sh --dry-run --out DIR    every step at tiny sizes on CPU, to test the script; 90 s
# Steps that lack a package or time do not run; the files say why. Killed, it leaves the files of the finished steps.
# Exit codes: 0 no step failed, 1 some did (the files say which), 2 bad option, package missing or no GPU, 143 SIGTERM.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python=python
case " $* " in
    *" --here "*) python="$(command -v python3 || command -v python)" || { echo "no python3 on PATH" >&2; exit 2; } ;;
    *) setup ;;
esac
PYTHONPATH="$root:$root/scripts${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m on_gpu "$@"
