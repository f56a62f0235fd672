"""Parameters of any dimensions: repeated, own and more than two. Every path has the gradient of plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draws, plain_spec, slowly

import tmsjax
from tmsjax.engine import Ensemble, plan
from tmsjax.errors import RegistryError, SpecError
from tmsjax.models import check_spec
from tmsjax.spec import load_spec

RATE = 0.5
PATHS = [
    ("cpu", {"path": "arrays", "microbatch": 8}),
    ("cpu", {"path": "scalars", "microbatch": 4}),
    ("cpu", {"path": "stages", "microbatch": 8}),
    ("gpu", {"path": "arrays"}),
    ("gpu", {"path": "scalars"}),
    ("gpu", {"kernel": "pallas", "path": "scalars"}),
]
DEPTH = {"layers": tmsjax.Option("int", default=2)}


def stacked(p, x, f):
    """A residual stream with a stack of layers between an embedding and its transpose."""
    h = p["W"] @ x
    for k in range(len(p["H"])):
        h = h + jnp.maximum(p["H"][k] @ h + p["c"][k], 0)
    return f(p["W"].T @ h + p["b"])


def scanned(p, x, f):
    def layer(h, own):
        return h + jnp.maximum(own[0] @ h + own[1], 0), None

    h, _ = jax.lax.scan(layer, p["W"] @ x, (p["H"], p["c"]))
    return f(p["W"].T @ h + p["b"])


def paired(p, x, f):
    """Quadratic in x: products of pairs, and one tensor of four dimensions."""
    i, j = np.triu_indices(len(x), 1)
    return f(p["P"] @ (x[i] * x[j]) + jnp.einsum("kabc,a,b->c", p["T"], x, x))


STACK = {
    "W": ("hidden", "feature"),
    "H": ("layers", "hidden", "hidden"),
    "c": ("layers", "hidden"),
    "b": ("output",),
}
FAMILIES = {
    "stacked": {"parameters": STACK, "apply": stacked, "options": DEPTH, "directions": lambda p: p["W"]},
    "scanned": {"parameters": STACK, "apply": scanned, "options": DEPTH},
    "paired": {
        "parameters": {"P": ("output", "pair"), "T": ("few", "input", "input", "output")},
        "apply": paired,
        "sizes": {"pair": lambda n: n * (n - 1) // 2, "few": lambda m, layers: m - layers},
        "options": DEPTH,
    },
}


@pytest.fixture(autouse=True)
def _families(registries):
    for name, entry in FAMILIES.items():
        tmsjax.add_family(name, **entry)


def spec_of(family: str, engine: dict, optimizer: str = "sgd", steps: int = 1):
    tables = {"train": {"optimizer": optimizer, "learning_rate": RATE, "steps": steps, "batch": 16}, "engine": engine}
    return load_spec(plain_spec(4, 3, instances=2, probability=0.6, model={"family": family}, **tables))


@pytest.mark.parametrize(("platform", "engine"), PATHS, ids=str)
@pytest.mark.parametrize("family", ["stacked", *slowly("scanned", "paired")])
def test_every_path_has_the_gradient_of_plain_jax(family, platform, engine):
    spec = spec_of(family, engine)
    ensemble = Ensemble(spec, cut=plan(spec, platform))
    start = ensemble.init()
    before = ensemble.gather(start).params
    after = ensemble.gather(ensemble.advance(start, 1)).params
    apply, relu = FAMILIES[family]["apply"], jax.nn.relu
    for k in range(2):
        x = draws(spec, 0, k)[0].astype(np.float32)

        def loss(params, x=x):
            return ((x - jax.vmap(lambda one: apply(params, one, relu))(x)) ** 2).sum() / len(x)

        slopes = jax.grad(loss)({name: jnp.asarray(value[k]) for name, value in before.items()})
        for name, slope in slopes.items():
            step = (before[name][k] - after[name][k]) / RATE
            np.testing.assert_allclose(step, slope, rtol=2e-4, atol=2e-6, err_msg=f"{name} of model {k}")
            assert abs(slope).max() > 1e-3


@pytest.mark.parametrize(("sizes", "path"), [((8, 4), "scalars"), ((20, 6), "stages"), ((40, 20), "arrays")], ids=str)
def test_stacks_of_layers_train_on_the_path_that_suits_them(sizes, path):
    work = {"steps": 10**9, "batch": 1024}
    cut = plan(load_spec(plain_spec(*sizes, model={"family": "stacked"}, train=work)), "cpu")
    assert cut.program.partition(":")[0] == path


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stacked", "paired"])
def test_paths_agree_under_adam(family):
    found = []
    for platform, engine in PATHS[: 5 if family == "stacked" else 3]:
        spec = spec_of(family, engine, "adam", 4)
        ensemble = Ensemble(spec, cut=plan(spec, platform))
        found.append(ensemble.gather(ensemble.advance(ensemble.init(), 4)))
    for other in found[1:]:
        for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_results_number_repeated_dimensions():
    run = tmsjax.run_sweep(spec_of("stacked", {}))
    assert run.dataset["H"].dims == ("replica", "layers", "hidden", "hidden_2")
    assert run.dataset["H"].shape == (2, 2, 3, 3)
    assert run.dataset["b"].dims == ("replica", "output")
    data = tmsjax.run_sweep(spec_of("paired", {})).dataset
    assert data["T"].dims == ("replica", "few", "input", "input_2", "output")
    assert (data.sizes["few"], data.sizes["pair"], data.sizes["input"]) == (1, 6, 4)


@pytest.mark.slow
def test_the_explorer_opens_stacks_of_layers(tmp_path):
    assert tmsjax.run_sweep(spec_of("stacked", {})).explore().save(tmp_path / "page.html").exists()


SIZES = {
    "zero": (lambda n: n - 4, "size 'odd' gives 0, not a whole number from 1"),
    "half": (lambda n: n / 2, "size 'odd' gives 2.0, not a whole number from 1"),
    "fails": (lambda n: [][n], "sizes fails (IndexError: list index out of range)"),
}


@pytest.mark.parametrize("name", SIZES)
def test_bad_sizes_are_refused(name):
    size, said = SIZES[name]
    parameters = {"W": ("hidden", "feature"), "v": ("odd",)}
    apply = lambda p, x, f: f(p["W"].T @ (p["W"] @ x)) + p["v"].sum()  # noqa: E731
    tmsjax.add_family("odd-sized", parameters=parameters, apply=apply, sizes={"odd": size})
    with pytest.raises(SpecError) as error:
        check_spec(spec_of("odd-sized", {}))
    assert said in str(error.value)


def test_a_size_names_only_what_is_known():
    with pytest.raises(RegistryError, match="the size of 'odd' has an argument 'k'; it may have n, m, layers"):
        tmsjax.add_family(
            "odd-sized",
            parameters={"v": ("odd", "layers")},
            apply=lambda p, x, f: x,
            sizes={"odd": lambda n, k: k},
            options=DEPTH,
        )
