#!/usr/bin/env bash
# Lint, types and tests.   --slow runs the tests marked slow too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
TMSJAX_EXTRAS=dev setup
cd "$root"

selection=()
if [ "${1:-}" = --slow ]; then
    selection=(-m "slow or not slow")
    shift
fi
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
ruff check .
ruff format --check .
mypy
python -m pytest ${selection[@]+"${selection[@]}"} "$@"
