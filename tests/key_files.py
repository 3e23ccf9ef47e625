"""Keys for tests: a key file, or key-encryption keys in memory."""

from pathlib import Path

from state.key_providers import FileProvider
from state.key_ring import KeyRing
from state.key_wrapping import FIRST, LocalWrapping


def load_keys(path: Path, *, create: bool) -> KeyRing:
    """Return the keys of a file; make one if there is none and `create` is set."""
    provider = FileProvider(path)
    if create:
        provider.create()
    return provider.ring()


def wrapping(*keks: bytes, deployment: str = "") -> LocalWrapping:
    """Return what wraps with the last of these, the versions 1, 2 ..."""
    versions = dict(enumerate(keks, FIRST))
    return LocalWrapping(lambda: versions, deployment, "the test")
