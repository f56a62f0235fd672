"""Signals stop training after the segment and lose nothing, on the command line and in Python."""

import asyncio
import io
import os
import signal
import sys
import threading
import time

import pytest
from conftest import copied, digest, run_command, small_spec, write_spec

from tmsjax.errors import Interrupted
from tmsjax.runs import files, interrupts, open_run, run_sweep
from tmsjax.runs.interrupts import SIGNALS, stopping

INT, TERM, HUP = SIGNALS
LONG = small_spec(train={"steps": 200_000_000}, checkpoint={"every_seconds": 1e9, "segment_seconds": 0.1})


@pytest.fixture(autouse=True)
def defaults():
    """Signals have Python's handlers, and have them again after the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == INT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_sweep_in_python_saves_and_says_how_to_go_on(number, tmp_path, small_run, capsys):
    before, out = handlers(), tmp_path / "run"
    with pytest.raises(Interrupted) as stopped:
        run_sweep(small_spec(), out, listen=lambda p: signal.raise_signal(number))
    step = open_run(out).steps()[0]
    how = f"to continue: call run_sweep again, or tmsjax resume {out}"
    assert str(stopped.value) == f"stopped after step {step} of 30; {how}"
    assert capsys.readouterr().err == "stopping after this segment ...\n"
    assert handlers() == before
    assert digest(run_sweep(small_spec(), out).dataset) == digest(open_run(small_run).dataset)


def test_a_sweep_in_memory_says_that_nothing_is_kept():
    with pytest.raises(Interrupted, match=r"^stopped after step \d+ of 30; nothing is kept .* give `out`"):
        run_sweep(small_spec(), listen=lambda p: signal.raise_signal(INT))


def test_a_caller_who_decides_when_to_stop_gets_no_handlers():
    seen = []
    run_sweep(small_spec(), should_stop=lambda: bool(seen.append(handlers())))
    assert seen
    assert all(signal.default_int_handler in each for each in seen)


def test_one_stop_delivered_twice_is_one_and_a_later_one_has_its_former_effect(monkeypatch, capsys):
    with stopping() as stop:
        assert not stop()
        for _ in range(3):
            signal.raise_signal(TERM)
        signal.raise_signal(INT)
        assert stop()
        assert stop.signal == TERM
        monkeypatch.setattr(interrupts, "SAME_STOP_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
    assert capsys.readouterr().err == "stopping after this segment ...\n"


def test_a_command_that_is_interrupted_twice_saves_once(tmp_path, monkeypatch):
    monkeypatch.setattr(interrupts, "SAME_STOP_SECONDS", 60.0)  # however busy this machine is
    out = tmp_path / "run"

    def interrupt_twice():
        while not (out / "log.jsonl").exists() or '"start"' not in (out / "log.jsonl").read_text():
            time.sleep(0.02)
        for _ in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), INT)

    thread = threading.Thread(target=interrupt_twice)
    thread.start()
    done = run_command("run", write_spec(tmp_path / "s.toml", LONG), "--out", out)
    thread.join()
    assert done.returncode == 130
    assert done.stderr.count("stopping after this segment ...") == 1
    assert f"to continue: tmsjax resume {out}" in done.stderr
    assert open_run(out).steps()[0] > 0


def test_handlers_of_the_program_are_left_alone_and_other_threads_have_none():
    def own(*_):
        pass

    signal.signal(INT, own)
    signal.signal(HUP, signal.SIG_IGN)
    with stopping():
        assert handlers()[::2] == [own, signal.SIG_IGN]
        assert signal.getsignal(TERM) != signal.SIG_DFL
    signal.signal(INT, signal.SIG_IGN)
    with stopping(command=True) as stop:
        assert signal.getsignal(HUP) == signal.SIG_IGN, "nohup"
        signal.raise_signal(INT)
        assert stop(), "a script has ignored it for its background commands"
    before, seen = handlers(), []

    def elsewhere():
        with stopping(command=True):
            seen.extend(handlers())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == handlers() == before


def test_event_loops_which_cannot_act_meanwhile_hand_their_signal_over():
    """As for asyncio.run, and for a notebook's cells that await something."""

    async def cell():
        with stopping() as stop:
            signal.raise_signal(INT)
            return stop()

    assert asyncio.run(cell())


@pytest.mark.parametrize("lost", ["closed", "reentrant"])
def test_a_stop_needs_no_standard_error(lost, monkeypatch):
    stream = io.StringIO()
    if lost == "closed":
        stream.close()
    else:
        monkeypatch.setattr(stream, "write", lambda text: (_ for _ in ()).throw(RuntimeError("reentrant call")))
    monkeypatch.setattr(sys, "stderr", stream)
    with stopping() as stop:
        signal.raise_signal(INT)
        assert stop()


@pytest.mark.parametrize("command", ["map", "compare"])
def test_other_commands_end_in_one_line_and_leave_no_half_file(command, tmp_path, small_run, monkeypatch):
    out = copied(small_run, tmp_path / "run")
    before = sorted(out.rglob("*"))

    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "sync", interrupt)
    done = run_command(command, out)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert sorted(out.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("first_line", ["", "import asyncio; await asyncio.sleep(0)"])
def test_the_stop_button_of_a_notebook_saves(first_line, tmp_path):
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    spec, out = write_spec(tmp_path / "s.toml", LONG), tmp_path / "run"
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    threading.Thread(target=interrupt_when_training, args=(kernel, out)).start()
    try:
        call = f"import tmsjax\ntmsjax.run_sweep({spec!r}, {str(out)!r})"
        reply = client.execute_interactive(f"{first_line}\n{call}", timeout=120, output_hook=lambda message: None)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert reply["content"]["ename"] == "Interrupted"
    assert f"tmsjax resume {out}" in reply["content"]["evalue"]
    assert open_run(out).steps()[0] > 0


def interrupt_when_training(kernel, out) -> None:
    while not (out / "log.jsonl").exists():
        time.sleep(0.05)
    time.sleep(3)
    kernel.interrupt_kernel()
