"""Prints lines. A reader that is gone, or a character that it cannot show, never stops the work that is reported."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from tmsjax.errors import printable

GONE = (errno.EPIPE, errno.EIO)  # of a pipe without a reader, of a terminal that has hung up


class SafeStream:
    """A text stream to which writing does not fail."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, RuntimeError):  # gone, closed, interrupted by a signal handler that writes
            try:
                return self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, RuntimeError):
            self._stream.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False


def safe(stream: Any) -> TextIO:
    """The stream as one to which writing does not fail. `stream`: None, if the process has none, drops all text."""
    return cast(TextIO, stream if isinstance(stream, SafeStream) else SafeStream(stream or io.StringIO()))


def say(text: object, *, err: bool = False) -> None:
    """Prints lines of text. Names and paths may come from strangers: control characters are written out."""
    lines = "\n".join(map(printable, str(text).split("\n")))
    print(lines, file=safe(sys.stderr if err else sys.stdout), flush=True)


@contextmanager
def safe_output() -> Iterator[None]:
    """Makes standard output and error safe streams.

    At the end drops what nobody reads, which the interpreter would otherwise report when it exits. Raises OSError if
    the output is incomplete for another reason, such as a full disk.
    """
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(safe, given)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = given
        for stream in given:
            _drop_unread(stream)


def _drop_unread(stream: TextIO | None) -> None:
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if error.errno not in GONE:
            raise
