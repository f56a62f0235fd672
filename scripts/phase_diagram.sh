#!/usr/bin/env bash
# The main job: trains the one-neuron phase diagram, compares it with theory, draws the figures and writes a report.
#   bash scripts/phase_diagram.sh            1,024,000 models into runs/one-neuron-relu
#   bash scripts/phase_diagram.sh --quick    100,000 models into runs/one-neuron-relu-quick
# Other options go to the training command, for example --out DIR or --fresh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"

out=""
default=runs/one-neuron-relu
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --quick)
            default=runs/one-neuron-relu-quick
            options+=(--set axes.feature_probability.count=100 --set axes.extra_importance.count=100)
            ;;
        --out)
            out="${2:?--out needs a directory}"
            shift
            ;;
        *) options+=("$1") ;;
    esac
    shift
done
out="${out:-$default}"

tmsjax run sweeps/one_neuron_relu.toml --out "$out" ${options[@]+"${options[@]}"}
tmsjax map "$out"
tmsjax compare "$out"
tmsjax plot "$out"
echo "$out"
