"""`millrace keys`: what wraps the customers' data keys."""

from rich.table import Table

from flows.cli.printing import console, folded, print_json
from flows.runtime.deployment import Deployment
from flows.services import data_keys
from schemas.config import Config


def status(config: Config, as_json: bool) -> int:
    """Print how it stands. 1 if a key is missing. Raises `ConfigError`, `KeysAway`, `Unreachable`,
    `Foreign`."""
    found = data_keys.standing(Deployment(config))
    if as_json:
        print_json(found)
        return 1 if found.missing else 0
    print(f"{found.provider}: {found.where}, fingerprint {found.fingerprint}")
    table = folded(Table("key", "wraps data keys", "state", box=None, pad_edge=False))
    for version in found.versions:
        newest = "wraps what is new" if version.key == found.newest else "unwraps"
        table.add_row(version.key, f"{version.uses:,}", newest if version.there else "MISSING")
    console().print(table)
    if found.unbound:
        print(
            f"{found.unbound:,} were wrapped by an earlier release, and are not bound to their customer:"
            " `millrace keys rotate` binds them"
        )
    if found.missing:
        print(f"missing: {', '.join(found.missing)}; what these wrap cannot be opened (docs/keys.md)")
    return 1 if found.missing else 0


def rotate(config: Config, as_json: bool) -> int:
    """Rotate, and print what was done. 1 if some are left. Raises `ConfigError`, `KeysAway`, `Unreachable`,
    `Foreign`."""
    done = data_keys.rotate(Deployment(config))
    if as_json:
        print_json(done)
        return 1 if done.left else 0
    begun = "made" if done.made else "finished the rotation to"
    print(f"{begun} {done.newest}: {done.rewrapped:,} data keys wrapped anew in {done.seconds:.1f} s")
    if done.gone:
        print(f"{done.gone:,} were destroyed or wrapped anew by another command meanwhile, and stay so")
    if done.damaged:
        print(f"{done.damaged:,} do not open, and stay as they are: restore the key copy (docs/backup.md)")
    if done.left > done.damaged:
        print(f"{done.left:,} are wrapped by another key: once more `millrace keys rotate`")
    return 1 if done.left else 0


def new() -> int:
    """Print new keys."""
    print(data_keys.fresh())
    return 0
