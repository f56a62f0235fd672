"""Tests of documents: README, docs/, docstrings, examples, packaging. A package for its own conftest.py."""
