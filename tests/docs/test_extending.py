"""docs/extending.md: its Python runs, its TOML trains, and its errors are those that users see."""

import re
import tomllib
from contextlib import chdir

import numpy as np
import pytest
from conftest import ROOT

import tmsjax
from tmsjax.engine.plan import why_arrays
from tmsjax.errors import RegistryError
from tmsjax.models import bind
from tmsjax.runs.source import with_source
from tmsjax.spec import load_spec

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
(_, FIRST), *BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SPEC = {key: value for key, value in tomllib.loads(FIRST).items() if key != "imports"}
MOST_LINES = 10


def changed(text: str) -> dict:
    """The first spec with the tables of another block."""
    tables = tomllib.loads(text)
    read = {"file", "run"} & tables.get("data", {}).keys()  # such samplers have no probabilities
    raw = {"record": {"steps": [0, SPEC["train"]["steps"]]}, **SPEC} | ({"instance": {}} if read else {})
    return raw | {key: {**raw.get(key, {}), **table} for key, table in tables.items()}


@pytest.fixture
def executed(registries, tmp_path):
    """The names that the page's Python defines, in a folder with the runs that it mentions."""
    with chdir(tmp_path):
        made: dict = {}
        for language, text in BLOCKS:
            if language == "python":
                exec(compile(text, "docs/extending.md", "exec"), made)
        yield made


def test_every_example_is_short_and_learns_on_the_fast_path(executed):
    for seed in (1, 2):
        tmsjax.run_sweep({**SPEC, "seed": seed}, f"runs/toy-{seed}")
    wrong = []
    for language, text in BLOCKS:
        if language == "python":
            assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES, text
            continue
        spec = with_source(load_spec(changed(text)))
        run = tmsjax.run_sweep(changed(text))
        before, after = np.moveaxis(run.dataset["history_loss"].to_numpy(), -1, 0)
        if not ((after < 0.9 * before).all() and after.sum() < 0.6 * before.sum()) or why_arrays(bind(spec)):
            wrong.append(f"{text}: loss {before} -> {after}; arrays: {why_arrays(bind(spec))}")
    assert wrong == []
    assert set(tmsjax.figures(run, kind="widths")) == {"widths"}
    assert tmsjax.measures(run)["participation"].dims[-1] == "feature"


def family(name, text, **changes):
    """Adds a family of the page again, with other functions."""
    known = tmsjax.kinds.FAMILIES[name]
    given = {key: getattr(known, key) for key in ("parameters", "apply", "target", "outputs", "options", "init")}
    tmsjax.add_family(name, **(given | changes))
    return text


FAULTS = {  # what the page says, and how to see it: changes after which the TOML is run
    "activation 'softplus'": lambda: tmsjax.add_activation("softplus", lambda v: v.sum()),
    "data.sampler: 'litter'": lambda: (
        tmsjax.add_sampler("litter", columns=lambda n: 2 * n, sample=lambda u, p: u),
        '[data]\nsampler = "litter"',
    ),
    "data.file": lambda: (np.save("rows.npy", np.ones((100, 5))), '[data]\nfile = "rows.npy"'),
    "values 'triangular'": lambda: tmsjax.add_values(
        "triangular", lambda u: 1 - (1 - u) ** 0.5, mean=0.5, square=1 / 6
    ),
    "model.family: 'recall'": lambda: family(
        "recall", '[model]\nfamily = "recall"', apply=lambda p, x, f: x + p["B"].sum()
    ),
    "model.family: 'embedded'": lambda: family(
        "embedded", '[model]\nfamily = "embedded"', frozen={"E": np.ones((4, 3))}
    ),
    "family 'noisy-labels'": lambda: family("noisy-labels", ""),
    "loss.kind: 'huber'": lambda: (
        tmsjax.add_loss("huber", lambda target, output: (target - output)[:2]),
        '[loss]\nkind = "huber"',
    ),
    "instance.importance": lambda: '[model]\nfamily = "universal-and"\n[instance]\nimportance = [1, 1, 1, 1]',
    "model.family: 'dropout'": lambda: family(
        "dropout", '[model]\nfamily = "dropout"', apply=lambda p, x, f, noise, rate: p["b"] + noise[0], noise=3
    ),
    "train.schedule: 'inverse'": lambda: (
        tmsjax.add_schedule("inverse", lambda step: 1.0),
        '[train]\nschedule = "inverse"',
    ),
    "init.rule: 'unit'": lambda: (
        tmsjax.add_init("unit", lambda params, instance: {"W": params["W"].T}),
        '[init]\nrule = "unit"',
    ),
    "measure 'participation'": lambda: (
        tmsjax.add_measure("participation", lambda W: W.sum(), dims=("feature",)),
        "",
    ),
}


def test_the_errors_of_the_page_are_those_that_users_see(executed):
    said = re.findall(r"^Error: `(.*)`\.$", TEXT, re.MULTILINE)
    for line, (start, fault) in zip(said, FAULTS.items(), strict=True):
        assert line.startswith(start)
        with pytest.raises((tmsjax.SpecError, RegistryError)) as error:
            tried(fault)
        assert line in str(error.value)


def tried(fault):
    given = fault()
    tmsjax.run_sweep(changed(given if isinstance(given, str) else given[-1]))
