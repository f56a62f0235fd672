"""Studies: each folder answers one question with its sweeps, numbers, figures and text."""
