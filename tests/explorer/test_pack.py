"""Numbers of the explorer's page are read back within the error that it states."""

import base64
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from page_reader import unpacked

from tmsjax.explorer import pack

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(float("nan")), min_size=1, max_size=50)


def shown(rounded: pack.Rounded) -> np.ndarray:
    """The numbers that a page shows for an array, decoded from its bytes."""
    return unpacked(rounded.head(0), np.frombuffer(b"".join(rounded.planes()), np.uint8))


@settings(deadline=None)
@given(NUMBERS, st.sampled_from([8, 10, 12, 16]))
def test_rounding_is_within_the_error_that_it_states(numbers, bits):
    values = np.array(numbers)
    rounded = pack.linear(values, bits)
    assert np.array_equal(np.isnan(shown(rounded)), np.isnan(values))
    assert rounded.code == ("sinh" if np.nanmax(np.abs(values), initial=0) > pack.WIDE else "linear")
    size = np.maximum(np.abs(values), 1)
    assert np.nanmax(np.abs(shown(rounded) - values) / size, initial=0) <= rounded.error * (1 + 1e-6) + 1e-9
    positive = np.abs(values) + 1e-9
    logs = pack.log(positive, bits)
    assert np.nanmax(np.abs(shown(logs) / positive - 1), initial=0) <= logs.error * (1 + 1e-6) + 1e-9
    small = pack.excess(positive, bits)
    off = np.abs(shown(small) - positive) / (positive + small.scale)
    assert np.nanmax(off, initial=0) <= small.error * (1 + 1e-6) + 1e-9


@settings(deadline=None)
@given(NUMBERS, st.sampled_from([8, 11, 16]))
def test_packed_arrays_are_read_back(numbers, bits):
    arrays = {"a": pack.linear(np.array(numbers), bits), "b": pack.whole(np.arange(300))}
    heads, text = pack.packed(arrays)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS), np.uint8)
    for name, array in arrays.items():
        assert np.array_equal(unpacked(heads[name], planes), shown(array), equal_nan=True)


def test_single_numbers_and_zeros_are_exact():
    for rounding in (pack.linear, pack.log, pack.excess):
        rounded = rounding(np.full(5, 0.3), 8)
        assert rounded.error < (3e-2 if rounding is pack.excess else 1e-15)
        assert np.allclose(shown(rounded), 0.3, rtol=rounded.error + 1e-12)
    losses = pack.log(np.array([0.0, 1e-5, 2.0, -1.0]), 16)
    assert shown(losses)[0] == 0
    assert np.allclose(shown(losses)[1:3], [1e-5, 2.0], rtol=losses.error)
    assert np.isnan(shown(losses)[3])


def test_a_large_number_costs_the_small_ones_little():
    values = np.append(np.linspace(-1, 1, 99), -3e4)
    assert np.abs(shown(pack.linear(values, 16)) - values)[:-1].max() < 3e-4


def test_more_bits_round_less_and_numbers_that_do_not_fit_are_missing():
    values = np.linspace(-1, 1, 1000)
    assert pack.linear(values, 12).error < pack.linear(values, 8).error / 15
    assert np.isnan(shown(pack.log(np.array([1.0, np.nan, -1.0]), 8))).tolist() == [False, True, True]
    assert shown(pack.excess(np.array([-1e-3, 0.0]), 8)).tolist() == [0, 0]
