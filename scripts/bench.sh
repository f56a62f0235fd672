#!/usr/bin/env bash
# Times the engine against a plain vmap, PyTorch (if TMSJAX_EXTRAS=bench installs it) and the machine's limits.
#   bash scripts/bench.sh                  all workloads; 13 minutes on two cores
#   bash scripts/bench.sh --quick          one small workload; a minute
#   bash scripts/bench.sh --json FILE      also writes the result
#   bash scripts/bench.sh --curve DIR      the engine's rate for many sizes, with a figure; a minute
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
PYTHONPATH="$root/scripts" exec python -m bench "$@"
