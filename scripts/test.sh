#!/usr/bin/env bash
# Lint, types and tests, then a few tests on a newer Python and jax where a Python of at least 3.12 is found.
#   bash scripts/test.sh            all but the tests marked slow
#   bash scripts/test.sh --slow     those too
#   bash scripts/test.sh --newest   all but the slow ones, on the newer Python and the newest jax that it gets
# Other options go to pytest.
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
        echo "no Python of at least 3.12 is found: nothing is tested there" >&2
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
selection=()
if [ "${1:-}" = --slow ]; then
    selection=(-m "slow or not slow")
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
