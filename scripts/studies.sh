#!/usr/bin/env bash
# Reproduces studies of scripts/studies: trains their sweeps, computes theory, draws the figures, writes the texts.
#   bash scripts/studies.sh                     all, into runs/studies
#   bash scripts/studies.sh corner capacity     these
#   bash scripts/studies.sh --quick             coarse grids, short training, into runs/studies-quick
#   bash scripts/studies.sh --smallest          only to see that everything runs: seconds, into runs/studies-smallest
# A second call continues where the first stopped. Other options: --out DIR, --publish (copies texts, numbers and
# figures into scripts/studies).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"
PYTHONPATH="$root/scripts" python -m studies "$@"
