"""`millrace switch`: what was put where."""

from flows.runtime.deployment import Deployment
from flows.services import switching
from schemas.config import Config
from state.history.prefix_switch import aside


def run(config: Config, run_id: str) -> int:
    """Switch, and say what was put where. Raises `Foreign`, `Fenced`, `Unreachable`."""
    switching.switch(Deployment(config), run_id)
    print(
        f"run {run_id} is what runs from now on; make a backup. What was there is put aside under "
        f"{aside(run_id)!r}:"
    )
    print(f"`millrace switch {aside(run_id)}` brings it back for as long as no flow has run since.")
    return 0


def remove(config: Config, run_id: str) -> int:
    """Remove what lies beside under this id, keys and folders. Raises `Foreign`, `Fenced`."""
    removed = switching.remove(Deployment(config), run_id)
    print(f"removed {removed.keys:,} keys" + "".join(f", {folder}" for folder in removed.folders))
    return 0
