#!/usr/bin/env bash
# Runs lint, types and tests, then a few tests on a newer Python and jax if there is a Python 3.12 or newer.
#   bash scripts/test.sh            all tests except those marked slow or devices
#   bash scripts/test.sh --slow     these and the slow ones
#   bash scripts/test.sh --devices  those marked devices: compile for GPUs and TPUs that are not here (downloads 1 GB)
#   bash scripts/test.sh --newest   all tests except slow ones, on the newer Python and the newest jax that it supports
# Passes other options to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export TMSJAX_EXTRAS=dev

test_with() {
    python -c "import jax, sys; print(f'tests on Python {sys.version.split()[0]}, jax {jax.__version__}')"
    python -m pytest -n 2 --dist worksteal "$@"
}

newest() {
    local python
    python="$(newer_python)"
    if [ -z "$python" ]; then
        echo "found no Python 3.12 or newer: skipping the tests on it" >&2
        return
    fi
    setup .venv-newest "$python"
    test_with "$@"
}

if [ "${1:-}" = --newest ]; then
    shift
    newest "$@"
    exit
fi
if [ "${1:-}" = --devices ]; then
    shift
    export TMSJAX_EXTRAS=dev,aot-cuda,aot-tpu JAX_PLATFORMS=cpu
    setup .venv-devices
    python -m pytest -m devices tests/engine/test_ahead.py "$@"
    exit
fi
selection=()
if [ "${1:-}" = --slow ]; then
    selection=(-m "not devices")
    shift
fi
setup
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
ruff check .
ruff format --check .
mypy
vulture
test_with ${selection[@]+"${selection[@]}"} "$@"
[ $# -gt 0 ] || newest -m smoke
