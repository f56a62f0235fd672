#!/usr/bin/env bash
# Everything in docs/phase_changes.md: trains its sweeps, compares them with theory, draws the figures, writes the report.
#   bash scripts/reproduce_phase_changes.sh            into runs/phase-changes
#   bash scripts/reproduce_phase_changes.sh --quick    coarse and short, into runs/phase-changes-quick
# A second call goes on where the first stopped. Other options: --out DIR, --only exact,budget (some sections), --publish
# (copies report, numbers and figures into docs/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"

out=""
default=runs/phase-changes
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --quick)
            default=runs/phase-changes-quick
            options+=("$1")
            ;;
        --out)
            out="${2:?--out needs a directory}"
            shift
            ;;
        *) options+=("$1") ;;
    esac
    shift
done

python scripts/phase_changes "${out:-$default}" ${options[@]+"${options[@]}"}
