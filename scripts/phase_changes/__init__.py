"""What docs/phase_changes.md says: a section a module. `bash scripts/reproduce_phase_changes.sh` runs it."""
