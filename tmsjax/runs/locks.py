"""Locks of files by flock: they end with their process, and some file systems have none."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

from tmsjax.errors import RunError

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class NoLocks(Exception):
    """The file system has no locks. The message gives its reason."""


def take(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool:
    """Locks an open file. Returns False if another process holds the lock. Raises NoLocks, or RunError."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno in NONE:
            raise NoLocks(error.strerror) from error
        raise RunError(f"{file.name}: cannot be locked: {error.strerror}") from error
    return True
