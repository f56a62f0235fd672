"""The report docs/atlas.md: later toy models and new results. Run as `python -m atlas`."""
