"""The keys that customers' data keys are wrapped with: which there are, and another one while everything
runs."""

import time
from pathlib import Path
from typing import Final

import msgspec

from flows.runtime.deployment import Deployment
from state.key_ring import encoded, new_document
from state.key_rotation import Rewrapped, Rotation, Tally
from state.key_wrapping import KekId
from state.redis.client import reported, wait_for

SAFE_AFTER_S: Final = 2.0  # by then a Redis with `appendfsync everysec` has on its disk what it confirmed


class Version(msgspec.Struct, frozen=True):
    """One key-encryption key."""

    key: str  # its id, such as `kek-2` or `vault-1`
    there: bool  # whether the provider lets it unwrap
    uses: int  # data keys that it wraps


class Standing(msgspec.Struct, frozen=True):
    """What wraps the data keys."""

    provider: str
    where: str
    fingerprint: str
    newest: str
    versions: list[Version]
    data_keys: int
    unbound: int  # of these: wrapped by a release before format 4, not bound to deployment and origin
    missing: list[str]  # what wraps data keys and is not there


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did."""

    made: bool  # False: an earlier one was finished, and no version made
    newest: str
    rewrapped: int
    gone: int  # destroyed, or wrapped anew by another rotation, meanwhile
    damaged: int  # did not open, and stay as they are
    left: int  # data keys that another version wraps, damaged ones included
    seconds: float


def standing(deployment: Deployment) -> Standing:
    """Return how it stands. Raises `ConfigError`, `KeysAway`, `Unreachable`, `Foreign`."""
    provider = deployment.key_provider
    wrapping = deployment.wrapping
    with reported():
        deployment.check_data()
        found = _rotation(deployment).tally()
    known = wrapping.known()
    listed = sorted({*known, *found.keys})
    versions = [Version(str(kek), kek in known, found.keys.get(kek, 0)) for kek in listed]
    return Standing(
        provider=provider.name,
        where=provider.where,
        fingerprint=deployment.keys.fingerprint,
        newest=str(wrapping.newest()),
        versions=versions,
        data_keys=found.total,
        unbound=found.unbound,
        missing=[version.key for version in versions if not version.there],
    )


def rotate(deployment: Deployment) -> Rotated:
    """Make another key-encryption key and wrap every data key with it, while everything runs; or finish a
    rotation that did not come to its end. Raises `ConfigError`, `KeysAway`, `Unreachable`, `Foreign`; what is
    done by then is done, and the next call goes on."""
    began = time.monotonic()
    provider, rotation = deployment.key_provider, _rotation(deployment)
    with reported():
        deployment.check_data()
        _ = deployment.data_keys  # every key that wraps something is here, so the next version is a new one
        unfinished = _others(rotation.tally(), deployment.wrapping.newest())
        done = rotation.run() if unfinished else Rewrapped()
        made = not (done.keys or done.gone)  # what is damaged stays for ever, and finishes nothing
        if made:
            with rotation.making():
                provider.rotate()
            done = rotation.run()
        newest = deployment.wrapping.newest()
        found = rotation.tally()
        left = _others(found, newest)
        rotation.forget(newest, found)
        _copy(deployment)
        if not left:
            wait_for(deployment.client, deployment.config.redis.replicas)
            time.sleep(SAFE_AFTER_S)
            provider.settle()
    return Rotated(
        made=made,
        newest=str(newest),
        rewrapped=done.keys,
        gone=done.gone,
        damaged=done.damaged,
        left=left,
        seconds=round(time.monotonic() - began, 3),
    )


def fresh() -> str:
    """Return new keys as a variable of the environment holds them."""
    return encoded(new_document(keks=True)).decode()


def _rotation(deployment: Deployment) -> Rotation:
    return Rotation(deployment.client, deployment.names, deployment.wrapping)


def _others(found: Tally, newest: KekId) -> int:
    return sum(keys for kek, keys in found.keys.items() if kek != newest)


def _copy(deployment: Deployment) -> None:
    """Bring the copy of the data keys up to now, where there is one: a restore opens them as they are
    wrapped in there. Raises `Foreign`."""
    if Path(deployment.config.backup.keys).exists():
        copy = deployment.key_copy()
        try:
            copy.sync(deployment.client, deployment.names)
        finally:
            copy.close()
