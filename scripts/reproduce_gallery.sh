#!/usr/bin/env bash
# Everything in docs/gallery.md: trains its sweeps, measures them, draws the figures, writes the report.
#   bash scripts/reproduce_gallery.sh            into runs/gallery
#   bash scripts/reproduce_gallery.sh --quick    short trainings, into runs/gallery-quick
# A second call goes on where the first stopped. Other options: --out DIR, --only intro,basic (some sections; "large" is made
# only so), --publish (copies report, numbers and figures into docs/).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"
reproduce gallery "$@"
