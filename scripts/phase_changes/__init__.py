"""The report docs/phase_changes.md, one module per section. `bash scripts/reproduce_phase_changes.sh` makes it."""
