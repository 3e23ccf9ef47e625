"""The keys of the deployment itself: what they seal is sealed only where they do not lie beside it."""

from itertools import islice
from pathlib import Path
from typing import Any, Final

from flows.lab.prove.personal_values import PersonalValue
from flows.runtime.deployment import Deployment
from state.key_ring import load_document

WAY: Final = "the deployment's keys"
DATA_KEYS_MAX: Final = 500  # of customers, unwrapped, that are looked for
HOLDERS: Final = ("keys.json",)  # files of the data folder that are there to hold them


def keys_of(deployment: Deployment) -> list[PersonalValue]:
    """Return those of its key file, and the plain data keys of customers. Raises `ConfigError`,
    `Unreachable`."""
    document = load_document(Path(deployment.config.keys.path))
    client: Any = deployment.client
    buckets = client.scan_iter(match=deployment.names.data_keys + b"*", count=1_000)
    found = (held for bucket in buckets for held in client.hgetall(bucket).items())
    wrapped = ((origin, key) for origin, key in found if key)  # of who was erased there is none
    data_keys = deployment.wrapping.unwrap(list(islice(wrapped, DATA_KEYS_MAX)))
    return [key_value(key) for key in (*document.general.values(), *document.keks.values(), *data_keys)]


def key_value(key: bytes) -> PersonalValue:
    """Return a key as what is looked for."""
    return PersonalValue("key", key.hex(), (key.hex(),), WAY)
