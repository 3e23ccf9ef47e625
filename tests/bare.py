"""Run a command as on a machine that has nothing beside Python and make: `python3 tests/bare.py make test`.

The programs that tests look for are hidden from PATH. A folder that holds one of them is replaced by one of
links to all the others in it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERVERS = ("redis-server", "valkey-server")
KAFKA = ("java", "javac", "mvn")
CLIENTS = ("node", "npm", "npx", "go", "chromium", "chromium-browser", "google-chrome", "chromedriver")
CLOCKS = ("faketime",)
HIDDEN = frozenset((*SERVERS, *KAFKA, *CLIENTS, *CLOCKS))
POINTERS = ("JAVA_HOME", "M2_HOME", "NODE_PATH")  # would lead around PATH


def path_without(hidden: frozenset[str], path: str, scratch: Path) -> str:
    """Return `path`, but so that what has one of these names is not found on it."""
    shown = []
    for number, folder in enumerate(Path(each) for each in path.split(os.pathsep) if each):
        if not folder.is_dir():
            continue
        if not any((folder / name).exists() for name in hidden):
            shown.append(str(folder))
            continue
        links = scratch / str(number)
        links.mkdir()
        for program in folder.iterdir():
            if program.name not in hidden:
                (links / program.name).symlink_to(program)
        shown.append(str(links))
    return os.pathsep.join(shown)


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="mr-bare-") as scratch:
        kept = {name: value for name, value in os.environ.items() if name not in POINTERS}
        bare = kept | {"PATH": path_without(HIDDEN, os.environ["PATH"], Path(scratch))}
        return subprocess.run(command, env=bare, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
