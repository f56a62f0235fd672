"""Prints lines. A reader that is gone, or a character that it cannot show, never stops the work that is reported."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from tmsjax.errors import RunFailed, printable

GONE = (errno.EPIPE, errno.EIO)  # of a pipe without a reader, of a terminal that has hung up


class SafeStream:
    """A text stream to which writing does not fail. `error`: why the last lines were dropped, or None."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._safely():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.error = None
        return len(text)

    def flush(self) -> None:
        with self._safely():
            self._stream.flush()

    def isatty(self) -> bool:
        with self._safely():
            return self._stream.isatty()
        return False

    @contextmanager
    def _safely(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
        except (ValueError, RuntimeError):  # closed; interrupted by a signal handler that prints, too
            pass


def safe(stream: Any) -> TextIO:
    """The stream as one to which writing does not fail. `stream`: None, if the process has none, drops all text."""
    return cast(TextIO, stream if isinstance(stream, SafeStream) else SafeStream(stream or io.StringIO()))


def say(text: object, *, err: bool = False) -> None:
    """Prints lines of text. Names and paths may come from strangers: control characters are written out."""
    lines = "\n".join(map(printable, str(text).split("\n")))
    stream = safe(sys.stderr if err else sys.stdout)
    stream.write(f"{lines}\n")
    stream.flush()


@contextmanager
def safe_output() -> Iterator[None]:
    """Makes standard output and error safe streams.

    At the end drops what nobody reads, which the interpreter would otherwise report when it exits. Raises RunFailed if
    the last lines are lost for another reason, such as a full disk.
    """
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(safe, given)
    try:
        yield
    finally:
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = given
        for stream in streams:
            _drop_unread(cast(SafeStream, stream))


def _drop_unread(stream: SafeStream) -> None:
    before = stream.error
    stream.flush()
    if (error := before or stream.error) is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    if error.errno not in GONE:
        raise RunFailed(f"{stream.name}: not all output was written: {error.strerror}")
