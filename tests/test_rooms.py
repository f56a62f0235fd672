"""What import-linter (see pyproject.toml) does not say: faces, imports by strings, what needs no jax, where vmap is."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import tmsjax

PACKAGE = Path(tmsjax.__file__).parent
TREES = {str(p.relative_to(PACKAGE).with_suffix("")): ast.parse(p.read_text()) for p in sorted(PACKAGE.rglob("*.py"))}
BY_NAME = {  # where a module may be imported by a name in a string, or looked up in sys.modules
    "lazy": "imports a public name when it is first used",
    "kinds/imports": "executes the files that a user's spec imports",
    "runs/cluster": "a task that lets a Dask worker import its code",
    "kinds/arrays": "is jax loaded?",
    "engine/forks": "has jax started?",
    "runs/files": "is dask loaded?",
    "plots/notebook": "is IPython loaded?",
}
IMPORTING = {"attr": ("import_module", "modules"), "id": ("__import__",), "name": ("import_module",)}
ONLY_IN = {  # models are functions of one instance: vmap over instances (or samples, outputs), jit and devices are here
    r"jax\.jit|NamedSharding": "engine/programs|models/(moments|norms)|theory/(newton|landscape|curvature)",
    r"jax\.vmap": "engine/(ensemble|gradient|programs|segment|stages|train|training_set)$"
    "|models/(moments|norms|trial)|theory/vertices",
}


def test_a_room_is_imported_through_its_face_which_has_what_it_names():
    rooms = {module.partition("/")[0] for module in TREES if "/" in module}
    faces = {room: importlib.import_module(f"tmsjax.{room}") for room in rooms}
    assert all(getattr(face, name) is not None for face in (tmsjax, *faces.values()) for name in face.__all__)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tmsjax."):
                room, _, inside = node.module.removeprefix("tmsjax.").partition(".")
                if room in rooms - {module.partition("/")[0]}:
                    missing = ({inside} if inside else {alias.name for alias in node.names}) - {*faces[room].__all__}
                    assert not missing, f"{module} reaches past the face of {room}: {missing}"


def test_no_module_hides_a_lazy_name_of_its_room():
    """The import of a module binds its name in the package, where a lazy name is bound when it is first used."""
    for face in (module for module in TREES if module.endswith("__init__")):
        branches = [node for node in TREES[face].body if isinstance(node, ast.If)]
        lazy = {alias.asname for branch in branches for node in branch.body for alias in node.names}
        assert not {name for name in lazy if face.replace("__init__", name) in TREES}, face


def test_nothing_is_imported_by_a_name_in_a_string():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            used = any(getattr(node, field, None) in names for field, names in IMPORTING.items())
            assert module in BY_NAME or not used, module
            text = node.value if isinstance(node, ast.Constant) else None
            assert not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text if isinstance(text, str) else ""), module


def test_help_and_specs_need_no_numerics_and_reading_and_drawing_need_no_jax():
    code = """if True:
        import sys
        from tmsjax import cli, kinds, spec
        spec.load_spec("sweeps/one_neuron_relu.toml", ["study.kind=curves"])
        kinds.add_study("mine", print)
        cli.app(["--help"], standalone_mode=False)
        assert not {"jax", "xarray", "matplotlib", "scipy"} & {*sys.modules}
        from tmsjax import theory, runs, analysis, plots, explorer
        assert "jax" not in sys.modules
        assert kinds.STUDIES["mine"].draw is print and all(study.draw for study in kinds.STUDIES.values())"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


def test_instances_are_vectorised_compiled_and_sharded_in_few_modules():
    for text, places in ONLY_IN.items():
        users = [module for module in TREES if re.search(text, (PACKAGE / f"{module}.py").read_text())]
        assert not [module for module in users if not re.match(places, module)], text
