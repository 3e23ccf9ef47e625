"""A small disk for Redis alone, that can be filled: a tmpfs which only this process and its children see."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "96m"
_NEW_MOUNTS = 0x0002_0000  # CLONE_NEWNS of unshare(2)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Put one on `folder`; it is gone when we are, however we end. Gives False where that is not possible: it
    takes Linux and root."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        yield False
        return
    folder.mkdir(parents=True, exist_ok=True)
    alone = ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) == 0 and _mount("--make-rprivate", "/")
    mounted = alone and _mount("-t", "tmpfs", "-o", f"size={SIZE},mode=700", "millrace-chaos", str(folder))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def fill(folder: Path) -> Path:
    """Fill it until nothing more fits. Return the file to remove."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as output:
        for size in (1 << 20, 4096, 1):
            block = b"\0" * size
            try:
                while True:
                    output.write(block)
            except OSError:
                continue
    return file
