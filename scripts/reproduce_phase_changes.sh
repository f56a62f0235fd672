#!/usr/bin/env bash
# Reproduces docs/phase_changes.md: trains its sweeps, compares them with theory, draws the figures, writes the report.
#   bash scripts/reproduce_phase_changes.sh            into runs/phase-changes
#   bash scripts/reproduce_phase_changes.sh --quick    coarse grids, short training, into runs/phase-changes-quick
# A second call continues where the first stopped. Other options: --out DIR, --only exact,budget (these sections),
# --publish (copies report, numbers and figures into docs/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"
reproduce phase_changes "$@"
