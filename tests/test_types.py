"""The annotations of kinds, models and engine are true at run time (jaxtyping, beartype), and few of them are Any."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import slowly

ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("kinds", "models", "engine") for path in sorted((ROOT / "tmsjax" / room).glob("*.py"))]
MOST = 150  # uses of Any
SWEEPS = """if True:
    import sys
    import warnings
    import jaxtyping

    checker = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int may stand for a float
    jaxtyping.install_import_hook(["tmsjax.kinds", "tmsjax.models", "tmsjax.engine"], checker)
    import digests
    import tmsjax
    from tmsjax.engine import Ensemble, TrainState, plan
    from tmsjax.engine.streams import Shared
    from tmsjax.models import Instance, check_spec

    checked = {node: node.__init__ for node in (Instance, TrainState, Shared)}
    for node, init in checked.items():
        node.__init__ = init.__wrapped__  # jax also puts axes, shapes and such in place of arrays
    warnings.simplefilter("ignore")

    def trace(name, *programs, platform="cpu", path=None):
        known, base, changes = digests.RUNS[name]
        spec = tmsjax.load_spec(digests.spec_of(path or known, base, changes))
        check_spec(spec)
        ensemble = Ensemble(spec, cut=plan(spec, platform))
        for program in programs:
            ensemble.programs.lowered(program, ensemble.devices[0])
        return ensemble

    ensemble = trace("relu", "init", "advance", "zero")
    for values in (ensemble.gather(ensemble.table), ensemble.gather(ensemble.init()), ensemble.shared):
        checked[type(values)](object.__new__(type(values)), **vars(values))
    trace("arrays, training set", "advance", "zero")
    trace("five features", "advance", path="stages")
    trace("family attention-output, arrays", "init", "advance", "loss")
    if sys.argv[2] == "all":
        trace("relu", "advance", platform="gpu")  # steps in chunks, instances in lanes
        trace("relu, Pallas kernel", "advance")
        trace("relu, masks", "advance")
        trace("three features, exact loss", "advance")
        trace("arrays, attack", "advance")
        trace("arrays, attack", "advance", path="stages")
        trace("arrays, linear, exact loss, sgd", "advance")
        trace("family top-k-autoencoder, arrays", "init", "advance")
        trace("activity correlated, scalars", "advance")
        trace("optimizer adamw-norm, scalars", "advance")
        trace("relu, stratified signs, biases", "init")
        trace("five features, polygon", "init", "loss")
    of_set = digests.spec_of("scalars", *digests.RUNS["relu, training set"][1:])
    print(tmsjax.training_set(tmsjax.load_spec(of_set), replica=1).shape)
    run = tmsjax.run_sweep(digests.spec_of(None, digests.FIVE, {}), out=sys.argv[1])
    print(len(list(digests.analysed(run))))
    hidden = {table: keys for table, keys in digests.FIVE.items() if table != "instance"}
    changes = {"model": {"features": 2, "hidden": 3}, "data": {"run": sys.argv[1]}}
    print(tmsjax.run_sweep(digests.spec_of(None, hidden, changes)).dataset["W"].shape)
"""


@pytest.mark.parametrize("which", ["some", *slowly("all")])
def test_annotations_are_true_when_sweeps_are_traced_and_trained(which, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])}
    command = [sys.executable, "-c", SWEEPS, str(tmp_path / "run"), which]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_few_annotations_are_any_and_none_is_an_alias_of_it():
    texts = {path: path.read_text() for path in SOURCES}
    assert sum(len(re.findall(r"\bAny\b", text)) for text in texts.values()) <= MOST
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
            assert not (isinstance(value, ast.Name) and value.id in ("Any", "object")), path
            assert not (isinstance(node, ast.alias) and node.name == "Any" and node.asname), path
