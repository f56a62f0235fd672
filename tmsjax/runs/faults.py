"""What an error of a file system means: a full disk, damage, or a file that is only out of reach now. No jax.

h5py, orbax and tensorstore hide the number of an error in their own types and texts, so it is looked for in both.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tmsjax.errors import Unreadable

T = TypeVar("T")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors from reading a missing or damaged file. With any other number, the file may be intact.
DAMAGE = (0, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
MAY_PASS = (
    *(errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ENOTCONN),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
)
PAUSES = (0.1, 0.4, 1.0, 2.0, 4.0, 5.0)  # seconds between tries; a cloud drive takes 5 to upload what was renamed


def first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def number_of(error: BaseException) -> int:
    """The errno of the error that caused `error`; 0 if there is none."""
    cause = first_cause(error)
    if isinstance(cause, OSError) and cause.errno:
        return cause.errno
    return next((number for number in errno.errorcode if os.strerror(number) in str(cause)), 0)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error from Python, orbax or tensorstore means that the disk or a quota is full."""
    return number_of(error) in NO_SPACE


@contextmanager
def reach(path: Path) -> Iterator[None]:
    """Raises Unreadable for errors after which `path` may still be intact; lets the others through."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        number, cause = number_of(error), first_cause(error)
        no_memory = isinstance(cause, MemoryError)
        if number in DAMAGE and not no_memory:
            raise
        reason = "not enough memory" if no_memory else os.strerror(number)
        raise Unreadable(f"{getattr(cause, 'filename', None) or path}: cannot be read: {reason}") from error


def patiently(action: Callable[[], T]) -> T:
    """Calls `action`, again for some seconds while it fails with an error that may pass."""
    for pause in PAUSES:
        try:
            return action()
        except Exception as error:
            if number_of(error) not in MAY_PASS:
                raise
        time.sleep(pause)
    return action()
