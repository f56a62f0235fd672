#!/usr/bin/env bash
# The main job: trains the one-neuron phase diagram, compares it with theory, draws the figures and writes a report.
#   bash scripts/phase_diagram.sh            1,024,000 models into runs/one-neuron-relu
#   bash scripts/phase_diagram.sh --quick    100,000 models into runs/one-neuron-relu-quick
# Passes other options to the training command, for example --out DIR or --fresh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"

read_options "$@"
[ -z "$quick" ] || options+=(--set axes.feature_probability.count=100 --set axes.extra_importance.count=100)
out="${out:-runs/one-neuron-relu$quick}"

tmsjax run sweeps/one_neuron_relu.toml --out "$out" ${options[@]+"${options[@]}"}
tmsjax map "$out"
tmsjax compare "$out"
tmsjax plot "$out"
echo "$out"
