"""Marks the tests of this folder as docs, unless they have a tier of their own."""

from pathlib import Path

import pytest

OTHER_TIERS = {"notebooks", "slow", "wheel"}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and not OTHER_TIERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.docs)
