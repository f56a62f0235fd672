#!/usr/bin/env bash
# Reproduces docs/gallery.md: trains its sweeps, measures them, draws the figures, writes the report.
#   bash scripts/reproduce_gallery.sh            into runs/gallery
#   bash scripts/reproduce_gallery.sh --quick    short training, into runs/gallery-quick
# A second call continues where the first stopped. Other options: --out DIR, --only intro,basic (these sections; "large"
# is made only this way), --publish (copies report, numbers and figures into docs/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"
reproduce gallery "$@"
