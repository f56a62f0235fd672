"""What section 11 of docs/gallery.md says about neurons is what its numbers say."""

import json

import numpy as np
import pytest
from conftest import ROOT

from tmsjax.spec import load_spec

NUMBERS = json.loads((ROOT / "docs" / "gallery.json").read_text())["neurons"]
TEXT = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
SIZES = ("n3_6", "n6_10", "n100_40")


def at(found: dict, key: str, p: float):
    return found[key][int(np.argmin(np.abs(np.array(found["probability"]) - p)))]


def monosemantic(found: dict) -> np.ndarray:
    return np.array(found["classes"]["monosemantic"])


def test_the_codes_of_the_privileged_basis_are_the_papers():
    found = NUMBERS["privileged"]
    mono, coded = (
        {p: value for p, value in zip(found["probability"], values, strict=True)}
        for values in (monosemantic(found), found["coded"])
    )
    assert mono[0.6] == 5
    assert all((mono[p], coded[p]) == (3, 3) for p in (0.4, 0.3, 0.2))
    assert (mono[0.15], coded[0.15]) == (2, 5)
    assert (mono[0.12], coded[0.12]) == (mono[0.08], coded[0.08]) == (mono[0.06], coded[0.06]) == (0, 8)
    assert 0 < at(found, "excess", 0.12)[1] < 0.01, "the paper's code of 0.12 is nearly as good"
    assert coded[0.04] == 9
    assert mono[0.04] == 0
    assert (np.diff(monosemantic(found)) <= 0).all()


@pytest.mark.parametrize("key", ["privileged", *SIZES])
def test_all_neurons_are_counted(key):
    found = NUMBERS[key]
    hidden = {"privileged": 5, "n3_6": 6, "n6_10": 10, "n100_40": 40}[key]
    np.testing.assert_array_equal(np.sum(list(found["classes"].values()), axis=0), hidden)
    np.testing.assert_allclose(np.sum(found["shares"], axis=-1), 1)
    assert found["models"] == found["seeds"] * len(found["probability"])


def test_dense_absolute_values_take_one_neuron_a_side():
    for key, features in (("n3_6", 3), ("n6_10", 5)):
        assert at(NUMBERS[key], "best_two_sided", 1.0) == features
        assert at(NUMBERS[key], "shares", 1.0)[1] > 0.95
    assert set(NUMBERS["n3_6"]["best_two_sided"]) == {3}, "enough neurons at any probability"


def test_neurons_become_polysemantic_as_features_get_sparser():
    for key in ("privileged", *SIZES):
        shares = np.array(NUMBERS[key]["shares"])[:, 1]
        assert shares[0] > 0.7, key
        assert shares[-1] < 0.6, key
    assert NUMBERS["n100_40"]["classes"]["monosemantic"][-1] == 0


def test_motifs_are_the_papers_where_neurons_are_short():
    found = NUMBERS["n6_10"]
    for p in (0.3, 0.2):
        weights = at(found, "weights", p)
        np.testing.assert_allclose(weights["reads"], (2, 0.5), rtol=0.1)
        np.testing.assert_allclose(weights["writes"], (0.5, 2), rtol=0.15)
        assert 0.4 < weights["opposite"] < 0.6, "either sign is as frequent"
        assert weights["elsewhere"] < 0.1
    assert found["motifs"][:2] == [0, 0], "none in dense models"
    assert found["all_motifs"] > 0.95 * found["all_pairs"]
    assert sum(found["in_best"]) > 0


@pytest.mark.parametrize(
    "name", ["privileged_basis", "absolute_value_3_6", "absolute_value_6_10", "absolute_value_100_40"]
)
def test_the_sweeps_are_those_of_the_text(name):
    spec = load_spec(ROOT / "sweeps" / f"{name}.toml")
    key = "privileged" if name == "privileged_basis" else name.replace("absolute_value_", "n")
    assert spec.instances == NUMBERS[key]["models"]
    assert f"sweeps/{name}.toml" in TEXT
