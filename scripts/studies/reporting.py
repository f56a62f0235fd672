"""Reports: trains the runs of a study, makes its numbers and figures, and renews the numbers and tables of its text."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tmsjax
from studies.drawn import drawn_run
from tmsjax import plots
from tmsjax.errors import RunError
from tmsjax.runs import with_imports, write_text
from tmsjax.spec import json_copy, load_spec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUICK = (
    "*Made with `--quick`, on coarse grids and with short trainings: the sentences are those of the full study. A "
    "number in them may belong to another point of a grid than the sentence says; n/a stands for a point that the "
    "coarse grid lacks. Tables and figures show what was computed.*"
)
SMALLEST = ("train.steps=20", "train.batch=16")  # of every run of --smallest
STAGES = ("seconds_of_compiling", "seconds_of_training", "seconds_of_results")
DIGITS = (6, 9, 17)  # significant digits of published numbers: the least with which the text stays the same
# a value, the path of its number ("-" before it changes the sign), and its format
NUMBER = re.compile(
    r"(?:n/a|(?:(?<!\w)-)?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?%?|\w+\+*)"
    r"(?P<name><!-- (?P<sign>-?)(?P<path>[^:<>]+?)(?::(?P<form>\S+))? -->)"
)
TABLE = re.compile(r"(?P<begin><!-- table (?P<name>\S+) -->).*?(?P<end><!-- end -->)", re.DOTALL)

Size = Literal["full", "quick", "smallest"]
Rows = list[list[str]]
Tables = Mapping[str, Callable[[dict], str]]


class Sweep(NamedTuple):
    """How to train a run: a sweep in the study's folder or a path from the root of the repository, with changes.

    In a change, "{runs}" stands for the folder of all runs.
    """

    path: str
    changes: Sequence[str] = ()
    quick: Sequence[str] = ()  # further changes for --quick and --smallest
    smallest: Sequence[str] | str = ()  # further changes for --smallest, after SMALLEST, or a run that stands for this


Runs = Mapping[str, Sweep]


@dataclass(frozen=True)
class Study:
    """A question, and how its answer is made.

    Attributes:
        name: of the folder that holds the study.
        make: returns the numbers, from runs that it opens with `report.run`, and gives its figures to the report.
        runs: the runs that `make` opens, by name. Studies share runs of the same name.
        tables: functions from the numbers to Markdown, by the names that the text has for them.
        by_request: whether the study is made only if it is named.
        drawn: whether --smallest draws the models of the runs at random instead of training them.
    """

    name: str
    make: Callable[[Report], dict]
    runs: Runs = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    by_request: bool = False
    drawn: bool = False

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def text(self) -> str:
        return (self.folder / "text.md").read_text(encoding="utf-8")

    def sweep(self, path: str) -> Path:
        """The file of a sweep, in the study's folder or under the root of the repository."""
        own = self.folder / path
        return own if own.exists() else ROOT / path


class Report:
    """What one call makes of a study, in OUT: runs/ of all studies, and NAME/ with numbers.json, text.md, figures/."""

    def __init__(self, study: Study, out: Path, size: Size = "full"):
        self.study, self.out, self.size = study, out, size
        self.runs, self.folder = out / "runs", out / study.name
        self.path = self.folder / "numbers.json"
        self.infos: dict[str, dict] = {}  # of the runs that this call opened
        self.seconds_of_runs = 0.0

    @property
    def quick(self) -> bool:
        return self.size != "full"

    def choose(self, full: Any, quick: Any, smallest: Any = None) -> Any:
        """The value for the size of this report. None for `smallest`: that of `quick`."""
        if self.size == "smallest" and smallest is not None:
            return smallest
        return quick if self.quick else full

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of this or an earlier call. Raises RunError if they are damaged."""
        with suppress(ValueError):
            found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            if isinstance(found, dict):
                return found
        raise RunError(f"{self.path}: damaged; delete it")

    def run(self, name: str) -> Any:
        """A run, trained now if no earlier call did."""
        other = self.study.runs[name].smallest
        if self.size == "smallest" and isinstance(other, str):
            name = other
        sweep = self.study.runs[name]
        if self.size == "smallest" and self.study.drawn:
            self.infos[name] = dict.fromkeys((*STAGES, "diverged_models"), 0) | {"device": "none"}
            source, changes = self.study.sweep(sweep.path), self.changes(sweep)
            return drawn_run(with_imports(load_spec(source, changes), source, changes))
        if name not in self.infos:
            start = time.monotonic()
            self.train(name, sweep)
            self.seconds_of_runs += time.monotonic() - start
        run: Any = tmsjax.open_run(self.runs / name)
        self.infos[name] = vars(run.directory.info())
        return run

    def figure(self, name: str, figure: Any) -> None:
        if self.size == "smallest":  # one small file without a layout, which takes a fraction of the time
            (self.folder / "figures").mkdir(parents=True, exist_ok=True)
            first: Any = figure.figure  # of an animation its first frame
            first.set_layout_engine("none")
            first.savefig(self.folder / "figures" / f"{name}.png", dpi=20)
            return
        for path in plots.save(figure, self.folder / "figures" / name):
            print(f"  {path}")

    def make(self) -> None:
        """Makes the study's numbers and figures and writes its text.

        Complete runs of an earlier call stay as they are. Raises RunError for damaged numbers before any work.
        """
        before = self.numbers.get("cost", {}).get("seconds_of_making", 0)
        print(f"{self.study.name}:", flush=True)
        start = time.monotonic()
        numbers = json_copy(self.study.make(self))
        seconds = time.monotonic() - start - self.seconds_of_runs
        seconds = max(seconds, before)  # an earlier call did the work that this call finds done
        infos = self.infos.values()
        training = sum(info["seconds_of_training"] for info in infos) + numbers.get("seconds_of_training", 0)
        numbers["cost"] = {
            "minutes": (seconds + sum(info[stage] for info in infos for stage in STAGES)) / 60,
            "seconds_of_making": seconds,
            "seconds_of_training": training,
            "device": "; ".join(sorted({info["device"] for info in infos})),
            "version": version("tmsjax"),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(numbers))
        text = fill(self.study.text, numbers, self.study.tables)
        write_text(self.folder / "text.md", noted(text) if self.quick else text)
        print(self.folder / "text.md", flush=True)

    def changes(self, sweep: Sweep) -> list[str]:
        """The changes of a sweep for the size of this report."""
        changes = [*sweep.changes]
        if self.quick:
            changes += sweep.quick
        if self.size == "smallest":
            changes += [*SMALLEST, *sweep.smallest]
        return [change.replace("{runs}", str(self.runs.resolve())) for change in changes]

    def train(self, name: str, sweep: Sweep) -> None:
        """Trains what earlier calls left to train of a run, after the runs that it needs."""
        for first in re.findall(r"\{runs\}/(\w+)", " ".join(sweep.changes)):
            self.run(first)
        changes = self.changes(sweep)
        print(f"  {name}: {sweep.path}", *changes, flush=True)
        tmsjax.run_sweep(self.study.sweep(sweep.path), self.runs / name, overrides=changes)

    def publish(self) -> None:
        """Copies text, figures and the numbers that the text needs into the study's folder."""
        study, numbers = self.study, self.numbers
        text = fill(study.text, numbers, study.tables)
        write_text(study.folder / "text.md", text)
        write_text(study.folder / "numbers.json", written(needed(text, numbers, study.tables)) + "\n")
        for name in figures_of(text):
            if (self.folder / name).exists():
                (study.folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(self.folder / name, study.folder / name)


def figures_of(text: str) -> list[str]:
    return re.findall(r"!\[[^]]*\]\((figures/.+?)\)", text)


def noted(text: str) -> str:
    """The text with a note below its title that it was made with --quick."""
    title, _, rest = text.partition("\n\n")
    return f"{title}\n\n{QUICK}\n\n{rest}"


def fill(text: str, numbers: Any, tables: Tables) -> str:
    """Renews the numbers and tables of a text.

    A number stands before a comment with its path in `numbers` and its format: `0.574<!-- points.r:.3f -->`. It has no
    spaces. A "-" before the path changes the sign. A table stands between `<!-- table NAME -->` and `<!-- end -->`.
    A number that is missing becomes n/a.
    """

    def table_of(found: re.Match) -> str:
        return f"{found['begin']}\n\n{tables[found['name']](numbers)}\n\n{found['end']}"

    def number_of(found: re.Match) -> str:
        try:
            value: Any = numbers
            for part in found["path"].split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
            made = format(-value if found["sign"] else value, found["form"] or "")
        except (KeyError, IndexError, TypeError):
            made = "n/a"
        return f"{made}{found['name']}"

    return NUMBER.sub(number_of, TABLE.sub(table_of, text))


def needed(text: str, numbers: dict, tables: Tables) -> Any:
    """The part of the numbers without which the text would differ, rounded as far as it does not."""
    wanted = fill(text, numbers, tables)

    def suffices(found: Any) -> bool:
        try:
            return fill(text, found, tables) == wanted
        except Exception:  # of a table that lacks what it needs
            return False

    kept = json_copy(numbers)
    _prune(kept, lambda: suffices(kept))
    _round(kept, lambda: suffices(kept))
    return kept


def _places(part: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a dict, or indices and values of a list; none for anything else."""
    return list(part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ())


def _round(part: Any, suffices: Callable[[], bool]) -> None:
    """Rounds every number to the least of DIGITS that suffices."""
    for key, value in _places(part):
        part[key] = rounded(value, DIGITS[0])
        if not suffices():
            part[key] = value
            _round(value, suffices)
            if isinstance(value, float):
                for digits in DIGITS[1:]:
                    part[key] = rounded(value, digits)
                    if suffices():
                        break


def _prune(part: Any, suffices: Callable[[], bool]) -> None:
    """Drops keys, and empties places of lists, as long as the rest suffices."""
    if isinstance(part, dict):
        for key, value in list(part.items()):
            before = dict(part)
            del part[key]
            if not suffices():
                part.clear()
                part.update(before)  # in the same order
                _prune(value, suffices)
    elif isinstance(part, list) and any(isinstance(value, dict | list) for value in part):
        for k, value in enumerate(part):
            part[k] = None
            if not suffices():
                part[k] = value
                _prune(value, suffices)


def written(value: Any, indent: str = "") -> str:
    """JSON in which what fits in a line is one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= 120 or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    keys = [f"{json.dumps(key)}: " for key in value] if isinstance(value, dict) else [""] * len(value)
    inside = value.values() if isinstance(value, dict) else value
    if not any(isinstance(one, dict | list) for one in inside) and isinstance(value, list):
        return line
    parts = [f"{deeper}{key}{written(one, deeper)}" for key, one in zip(keys, inside, strict=True)]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n" + ",\n".join(parts) + f"\n{indent}{end}"


def rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def table(head: list[str], rows: Rows) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def percent(values: Any) -> list[str]:
    return [f"{v:.1%}" for v in values]
