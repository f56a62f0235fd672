#!/usr/bin/env bash
# Trains 1,000,000,000 models, kills the command once on the way and resumes it, then maps, compares with theory and draws.
#   bash scripts/billion.sh            10,000 x 10,000 cells x 10 replicas into runs/one-neuron-billion
#   bash scripts/billion.sh --quick    3,200 x 3,125 cells x 10 replicas into runs/one-neuron-billion-quick
# Passes other options to the training command, for example --out DIR. Needs 11 GB of disk (1.1 GB) and 2 GB of memory.
set -euo pipefail
TIMEFORMAT="%R s"
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
cd "$root"

read_options "$@"
[ -z "$quick" ] || options+=(--set axes.feature_probability.count=3200 --set axes.extra_importance.count=3125)
out="${out:-runs/one-neuron-billion$quick}"

stored() { find "$out/results" -name '[0-9]*.nc' 2>/dev/null | wc -l; }

tmsjax run sweeps/one_neuron_billion.toml --out "$out" ${options[@]+"${options[@]}"} &
training=$!
while kill -0 "$training" 2>/dev/null && [ "$(stored)" -lt 20 ]; do sleep 0.2; done
if kill -9 "$training" 2>/dev/null; then
    wait "$training" || echo "killed with $(stored) units stored; resuming"
    time tmsjax resume "$out"
else
    wait "$training"  # it was complete, or failed
fi
time tmsjax map "$out"
time tmsjax compare "$out"
time tmsjax plot "$out"
time tmsjax plot "$out" \
    --region feature_probability=0.55:0.75 --region extra_importance=0.8:1.25
du -sh "$out"
echo "$out"
