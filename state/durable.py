"""Files that must be there after a power cut."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """See to it that what was created, renamed or removed in it is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
