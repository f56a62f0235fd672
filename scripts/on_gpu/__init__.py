"""Checks and measurements on a GPU, one process per step. `bash scripts/on_gpu.sh` runs them."""
