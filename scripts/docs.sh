#!/usr/bin/env bash
# Builds the documentation site in build/site: open build/site/index.html, no server and no network needed.
#   bash scripts/docs.sh            warnings, such as links that lead nowhere, are errors
#   bash scripts/docs.sh --fresh    forgets what earlier builds and notebooks left
# Passes other options to sphinx-build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export TMSJAX_EXTRAS=docs JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
if [ "${1:-}" = --fresh ]; then
    shift
    rm -rf build/docs
fi
rm -rf build/site
setup .venv-docs
python -m sphinx -W --keep-going -n -q -d build/docs/doctrees -b html "$@" docs build/site
if grep -rlE '<(script|img|link|iframe|source)[^>]* (src|href)="(https?:)?//' build/site --include='*.html'; then
    echo "these pages load something from the network" >&2
    exit 1
fi
