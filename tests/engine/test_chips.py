"""The chips that programs can be compiled for: names, rates, and XLA's descriptions of GPUs."""

import pytest

from tmsjax.engine.chips import CHIPS, chip
from tmsjax.errors import SpecError


def test_rates_of_gpus_follow_from_their_descriptions():
    h100, a100 = chip("h100"), chip("a100")
    assert (h100.title, h100.platform) == ("NVIDIA H100 80GB HBM3", "gpu")
    assert h100.lanes == pytest.approx(132 * 128 * 1.98e9)
    assert a100.lanes == pytest.approx(108 * 64 * 1.41e9)
    assert h100.bandwidth == 3352.32e9
    assert chip("h200").memory == 151397597184


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_has_its_memory_rates_and_their_source(name):
    one = chip(name)
    assert one.name == name
    assert one.memory > 1e10
    assert one.bandwidth > 5e11
    assert one.source.startswith(("openxla/xla", "docs.cloud.google.com"))
    assert (one.platform == "tpu") == bool(one.topology)
    if one.platform == "gpu":
        assert "openxla/xla" in one.description
        assert one.lanes > 0


def test_an_unknown_chip_is_an_error_with_the_nearest_name():
    with pytest.raises(SpecError, match=r"'h10' is not known; did you mean 'h100'\? \(allowed: 'h100', 'h200'"):
        chip("h10")
