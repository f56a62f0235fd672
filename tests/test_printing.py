"""Printing never stops what it reports: readers that leave, streams that are closed, characters that do not fit."""

import io
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import pytest
from conftest import run_command, small_spec, write_spec

from tmsjax import cli, printing
from tmsjax.errors import RunFailed
from tmsjax.runs import counted, open_run, progress, progress_bar
from tmsjax.runs.progress import Progress
from tmsjax.spec import load_spec


@contextmanager
def unread():
    """Standard output and error are pipes that nobody reads."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as streams:
        for name in ("stdout", "stderr"):
            reader, writer = os.pipe()
            os.close(reader)
            stream = os.fdopen(writer, "w")
            streams.callback(close, stream)
            patch.setattr(sys, name, stream)
        with pytest.raises(BrokenPipeError):
            print("nobody reads this", flush=True)
        yield


def close(stream) -> None:
    with suppress(BrokenPipeError):
        stream.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_bars_and_warnings_that_nobody_reads_are_dropped(monkeypatch, terminal):
    monkeypatch.setattr(printing.SafeStream, "isatty", lambda stream: terminal)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with unread():
        printing.say("a line")
        printing.say("a warning", err=True)
        with progress_bar(load_spec(small_spec()), plain=True) as listen:
            listen(Progress(1, 30, 3.0, 4.0, 5e3, 0.25, models=12))
        assert list(counted(range(3), "map")) == [0, 1, 2]


def test_commands_whose_output_nobody_reads_do_their_work(tmp_path):
    spec, out = write_spec(tmp_path / "s.toml", small_spec()), str(tmp_path / "run")
    for arguments in (["run", spec, "--out", out], ["info", out], ["map", out], ["--help"]):
        with unread(), pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code
    assert open_run(out).directory.info().state == "complete"


def test_a_command_whose_reader_left_exits_with_0_and_silently():
    reader, writer = os.pipe()
    os.close(reader)
    code = "from tmsjax.printing import safe_output, say\nwith safe_output(): say('x')"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_at_the_end(monkeypatch):
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(RunFailed, match="not all output was written: No space left"), printing.safe_output():
            printing.say("lost")


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch):
    for errors in ("strict", "surrogateescape"):
        stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors)
        monkeypatch.setattr(sys, "stdout", stream)
        printing.say("café \udce9")
        assert stream.buffer.getvalue() == b"caf\\xe9 \\udce9\n"


def test_progress_fits_a_terminal_without_unicode(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(printing.SafeStream, "isatty", lambda stream: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar(load_spec(small_spec())) as listen:
        listen(Progress(30, 30, 3.0, 4.0, 5e3, 0.25, models=12))
    assert b"30/30" in stream.buffer.getvalue()
    assert b"\\u" not in stream.buffer.getvalue(), "rich's bar in ASCII"


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_process_without_standard_output_prints_nothing(stream, monkeypatch):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with printing.safe_output():
        printing.say("x")
        with progress_bar(load_spec(small_spec())) as listen:
            assert listen is None
    assert sys.stdout is stream


def test_names_of_files_are_printed_whatever_their_bytes(tmp_path):
    done = run_command("info", tmp_path / "caf\udce9.toml")
    assert done.returncode == 2
    assert "caf\\udce9.toml" in done.stderr
