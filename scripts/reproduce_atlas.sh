#!/usr/bin/env bash
# Reproduces docs/atlas.md: trains its sweeps, computes theory, draws the figures, writes the report.
#   bash scripts/reproduce_atlas.sh            into runs/atlas
#   bash scripts/reproduce_atlas.sh --quick    coarse grids, short training, into runs/atlas-quick
# A second call continues where the first stopped. Other options: --out DIR, --only SECTIONS (separated by commas),
# --publish (copies report, numbers and figures into docs/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"
reproduce atlas "$@"
