"""`millrace rebuild`: what was made, and how to switch to it."""

from flows.cli import switching_screen
from flows.cli.progress_line import Progress
from flows.runtime.deployment import Deployment
from flows.services import rebuild, switching
from flows.services.rebuild import Built
from flows.services.restore import server
from schemas.config import Config
from state.redis.client import reported


def run(config: Config, deliver: bool, then_switch: bool = False) -> int:
    """Rebuild; switch to it, or say how to. Raises `Foreign`, `Unreachable`; `Fenced` where flows run that
    must not."""
    deployment = Deployment(config)
    with server(config), reported():
        run_id = rebuild.begin(deployment, then_switch)
        if run_id is None:
            with Progress("rebuilding: entries of the archive") as step:
                built = rebuild.build(deployment, deliver, step)
            _tell(built, deliver)
            run_id = built.run_id
        if then_switch:
            return switching_screen.run(config, run_id)
    _say_how_to_switch(config, run_id)
    return 0


def _tell(built: Built, deliver: bool) -> None:
    print(
        f"run {built.run_id}: {built.windows:,} windows with {built.events:,} events in {built.seconds:.1f} s"
    )
    if built.erased:
        print(f"{built.erased:,} events of erased customers were left out")
    print(f"{built.fired:,} triggers fired: {'they' if deliver else 'none of them'} will be delivered")


def _say_how_to_switch(config: Config, run_id: str) -> None:
    there = switching.at(config, run_id)
    print(
        "\nTo switch: stop the flows when nothing is behind (`millrace status`), rebuild, and "
        f"`millrace switch {run_id}`; or at once:"
    )
    print("`millrace rebuild --switch`. To look at it first, start millrace with these:\n")
    print(f'    [redis]\n    prefix = "{there.redis.prefix}"')
    print(f'    [archive]\n    folder = "{there.archive.folder}"')
    print(f'    [backup]\n    folder = "{there.backup.folder}"')
