"""millrace with a defect of ours planted in it: validation raises on one name of an event. The demo and chaos
start this for `flows.cli`.

So each run shows what becomes of an event that our own code fails on: it is put aside as `poison`, and
nothing else notices.
"""

import sys

from flows.cli import main
from flows.lab.demo.malformed import Defective
from flows.runtime.deployment import Deployment


def plant() -> None:
    """Plant the defect in this process, for good."""
    sound = Deployment.validator
    # that is the defect
    Deployment.validator = lambda *args, **named: Defective(sound(*args, **named))  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    plant()
    sys.exit(main.main())
