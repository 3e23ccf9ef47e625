"""`millrace repair`: what was done to a shard or a customer that could not go on."""

from flows.runtime.deployment import Deployment
from flows.services import repair
from schemas.config import Config


def shard(config: Config, number: int) -> int:
    """Repair it, and say what was done. Its worker ends, and is started again. Raises `ConfigError`,
    `Unreachable`."""
    done = repair.shard(Deployment(config), number)
    if done.back_to is None and done.resent is None:
        print(f"shard {number} has read its log up to entry {done.read} of {done.end}: nothing to repair")
        return 0
    if done.back_to is not None:
        print(f"shard {number}: back from entry {done.read} to {done.back_to}; its log ends at {done.end}")
    if done.resent is not None:
        first, sent = done.resent.first, done.resent.sent
        print(
            f"shard {number}: what it hands over to other shards goes out again from message {first}; "
            "restart `deliver`"
        )
        if done.resent.gone:
            print(
                f"messages {sent + 1} to {first - 1} are gone: customers that wait for them wait on; "
                "restore a backup if that matters"
            )
    return 0


def customer(config: Config, ident: str) -> int:
    """Give up what is kept of a customer. The worker of the customer's shard ends, and is started again.
    Raises `ConfigError`, `Unreachable`."""
    done = repair.customer(Deployment(config), ident)
    who = f"customer {ident} (shard {done.shard})"
    if done.removed:
        print(f"{who}: removed; his identifiers stay his, and his history begins with his next event")
    else:
        print(f"{who}: his profile is there and can be read: nothing to repair")
    return 0
