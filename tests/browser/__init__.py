"""Tests of pages in a browser. A package, so that its conftest.py isn't the `conftest` that other tests import."""
