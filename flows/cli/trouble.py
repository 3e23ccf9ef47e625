"""What a person is told of an error: one line on stderr."""

import errno
import sys

from schemas.errors import MillraceError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


def fail(who: str, error: MillraceError | OSError) -> int:
    """Say it in one line, and return the exit code. Another trouble of the system's than with the disk is a
    defect, and raised again."""
    line = str(error)
    if isinstance(error, OSError):
        if error.errno not in _DISK and not (error.filename and error.errno in _NO_FOLDER):
            raise error
        line = f"{error.filename or 'the data folder'} cannot be written: {error.strerror}"
    print(f"{who}: {line}", file=sys.stderr, flush=True)
    return 1
