"""The coordinator of workers, with a crew that follows a script instead of processes."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from tmsjax.errors import Interrupted, RunFailed
from tmsjax.runs import crew
from tmsjax.runs.crew import hand_out
from tmsjax.runs.progress import Progress
from tmsjax.runs.remote import News


class Script:
    """A crew whose units end as `ends` says: a list of kinds for each unit, one an attempt; "stored" after these."""

    def __init__(self, workers: int = 2, **ends: list[str]):
        self.ends = {int(name[1:]): kinds for name, kinds in ends.items()}
        self.units: dict[int, list[int]] = {k: [] for k in range(workers)}
        self.attempts: dict[int, int] = defaultdict(int)
        self.most = 0  # units that a worker had at once
        self.stopped = False

    def free(self, second):
        return [k for k, units in self.units.items() if len(units) == int(second)]

    def size(self):
        return len(self.units)

    def give(self, worker, unit):
        assert not self.stopped
        self.units[worker].append(unit)
        self.attempts[unit] += 1
        self.most = max(self.most, len(self.units[worker]))

    def stop(self):
        self.stopped = True

    def news(self, seconds):
        for units in self.units.values():
            if units:
                unit = units.pop(0)
                left = self.ends.get(unit, [])
                kind = "stopped" if self.stopped else left.pop(0) if left else "stored"
                yield News("progress", unit, Progress(5, 10, 1.0, 100.0, 1000.0, 0.5, 3))
                yield News(kind, unit, {"peak_memory_bytes": 10 + unit} if kind == "stored" else "no reason")


def job():
    return SimpleNamespace(info={}, directory=SimpleNamespace(path="run"))


def test_every_unit_is_trained_once_and_the_last_progress_is_the_whole():
    script, told, made = Script(), [], job()
    assert hand_out(made, range(9), script, told.append, lambda: False) == 9
    assert script.attempts == dict.fromkeys(range(9), 1)
    assert script.most == 2, "there are plenty in the beginning"
    assert told[-1].share == 1
    assert all(one.share < 1 for one in told[:-1])
    assert told[0].models_per_second in (100.0, 200.0)
    assert made.info == {"peak_memory_bytes": 18}


def test_a_unit_fails_for_good_at_the_third_attempt_and_the_others_are_trained():
    script = Script(u1=["failed", "lost", "failed"], u2=["failed", "lost"])
    with pytest.raises(
        RunFailed, match=r"1 of 6 units failed, each in 3 attempts:\n  unit 1: no reason\n  5 units were"
    ):
        hand_out(job(), range(6), script, None, lambda: False)
    assert script.attempts == {0: 1, 1: 3, 2: 3, 3: 1, 4: 1, 5: 1}


def test_a_unit_that_another_process_holds_is_tried_until_it_is_free(monkeypatch):
    monkeypatch.setattr(crew, "AGAIN_SECONDS", 0.01)
    script = Script(u0=["held"] * 7)
    assert hand_out(job(), range(3), script, None, lambda: False) == 3
    assert script.attempts[0] == 8


def test_a_full_disk_ends_the_run():
    script = Script(u3=["full"])
    with pytest.raises(RunFailed, match=r"the disk is full:\n  unit 3: no reason\n"):
        hand_out(job(), range(100), script, None, lambda: False)
    assert script.stopped


def test_a_fault_of_all_units_ends_the_run_after_ten():
    script = Script(**{f"u{k}": ["failed"] * 9 for k in range(1000)})
    with pytest.raises(RunFailed, match="given up"):
        hand_out(job(), range(1000), script, None, lambda: False)
    assert sum(script.attempts.values()) < 60


def test_a_run_that_should_stop_says_how_much_is_done():
    calls = iter([False] * 3)
    with pytest.raises(Interrupted, match=r"stopped with \d+ of 50 units done"):
        hand_out(job(), range(50), Script(), None, lambda: next(calls, True))
