#!/usr/bin/env bash
# Runs lint, the check of layers, types and tests. Tests are in tiers (markers in pyproject.toml), each with its option:
#   bash scripts/test.sh            the usual tests: of the product, none of which takes long
#   bash scripts/test.sh --slow     these and the slow ones
#   bash scripts/test.sh --docs     tests/docs: what the documents, examples and docstrings say
#   bash scripts/test.sh --studies  tests/studies: what the studies in scripts/studies compute
#   bash scripts/test.sh --devices  those marked devices: compile for GPUs and TPUs that are not here (downloads 1 GB)
#   bash scripts/test.sh --browser  those marked browser: pages in Chromium (CHROMIUM, or on PATH, or installed);
#                                   before them, if npm is found, the types and layout of their JavaScript
#   bash scripts/test.sh --notebooks  those marked notebooks: executes docs/notebooks with Jupyter, follows docs/tutorials
#   bash scripts/test.sh --wheel    those marked wheel: build sdist and wheel, install them into a new environment, run examples
#   bash scripts/test.sh --newest   the usual tests on a newer Python, if one is found, and the newest jax that it supports;
#                                   the few that .ci/run wants: --newest -m "smoke and not slow"
# Passes other options to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export TMSJAX_EXTRAS=dev

test_with() {
    python -c "import jax, sys; print(f'tests on Python {sys.version.split()[0]}, jax {jax.__version__}')"
    python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"  # a file on one worker: what it trains, once
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

find_chromium() { # prints the path of a Chromium; installs one if there is none
    local name
    [ -z "${CHROMIUM:-}" ] || { echo "$CHROMIUM"; return; }
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return
    done
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >&2
        command -v chromium && return
    fi
    python -m playwright install chromium >&2 || return 1
    python -c "
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)"
}

check_javascript() { # types and layout of the explorer's modules
    if ! command -v npm >/dev/null; then
        echo "found no npm: skipping the checks of JavaScript" >&2
        return
    fi
    cd tests/browser
    npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
    node_modules/.bin/tsc
    node_modules/.bin/prettier --print-width 120 --log-level warn --check ../../tmsjax/explorer/page/*.js
    cd "$root"
}

if [ "${1:-}" = --newest ]; then
    shift
    newest "$@"
    exit
fi
for tier in docs studies; do
    if [ "${1:-}" = "--$tier" ]; then
        shift
        setup
        python -m pytest -m "$tier" "tests/$tier" "$@"
        exit
    fi
done
if [ "${1:-}" = --devices ]; then
    shift
    export TMSJAX_EXTRAS=dev,aot-cuda,aot-tpu JAX_PLATFORMS=cpu
    setup .venv-devices
    python -m pytest -m devices tests/engine/test_topology.py "$@"
    exit
fi
if [ "${1:-}" = --browser ]; then
    shift
    export TMSJAX_EXTRAS=dev,browser
    setup .venv-browser
    check_javascript
    CHROMIUM="$(find_chromium)"
    export CHROMIUM
    python -m pytest -m browser tests/browser "$@"
    exit
fi
if [ "${1:-}" = --notebooks ]; then
    shift
    export TMSJAX_EXTRAS=dev,notebooks JAX_PLATFORMS=cpu
    setup .venv-notebooks
    python -m pytest -m notebooks -rP tests/test_notebooks.py tests/test_tutorials.py "$@"
    exit
fi
if [ "${1:-}" = --wheel ]; then
    shift
    setup
    python -m pytest -m wheel tests/test_package.py "$@"
    exit
fi
selection=()
if [ "${1:-}" = --slow ]; then
    selection=(-m "not devices and not browser and not notebooks and not wheel and not docs and not studies")
    shift
fi
setup
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
ruff check .
ruff format --check .
lint-imports
mypy
vulture
test_with ${selection[@]+"${selection[@]}"} "$@"
