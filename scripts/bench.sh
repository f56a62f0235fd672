#!/usr/bin/env bash
# Times the engine against a plain vmap, PyTorch (if TMSJAX_EXTRAS=bench installs it) and the machine's limits.
#   bash scripts/bench.sh                  all workloads; 13 minutes on two cores
#   bash scripts/bench.sh --quick          one small workload; a minute
#   bash scripts/bench.sh --json FILE      also writes the result
#   bash scripts/bench.sh --curve DIR      the engine's rate for many sizes, with a figure; a minute
#   bash scripts/bench.sh --first          a process's first sweeps, and from how many seeds on they beat the others when
#                                          all start cold; 20 minutes; --quick: only the (2,1) sweeps, half a minute
#   bash scripts/bench.sh --first --before CHECKOUT     another version as well
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
PYTHONPATH="$root/scripts" exec python -m bench "$@"
