"""What wraps data keys: keks of a file or a variable, and Vault's engine Transit, on a real server."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.errors import Foreign, KeysAway
from state.key_wrapping import FIRST, KekId, LocalWrapping, NotOpened, Wrapping, kek_id, wrapped_by

if TYPE_CHECKING:
    from tests.vault_server import VaultServer

ANA, BOB = b"a" * 12, b"b" * 12
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


class Wrapper:
    """One of them, and what its operator can do."""

    @abstractmethod
    def of(self, deployment: str) -> Wrapping: ...

    @abstractmethod
    def rotate(self) -> None: ...

    @abstractmethod
    def lose_the_oldest(self) -> None: ...


class Local(Wrapper):
    def __init__(self) -> None:
        self.keks = {FIRST: os.urandom(32)}

    def of(self, deployment: str) -> Wrapping:
        return LocalWrapping(lambda: self.keks, deployment, "the test")

    def rotate(self) -> None:
        self.keks[max(self.keks) + 1] = os.urandom(32)

    def lose_the_oldest(self) -> None:
        del self.keks[min(self.keks)]


class OnVault(Wrapper):
    def __init__(self, server: "VaultServer", name: str) -> None:
        self.server, self.name = server, name
        server.transit.create_key(name, derived=True)

    def of(self, deployment: str) -> Wrapping:
        from state.vault_transit import Transit, VaultWrapping

        return VaultWrapping(Transit(self.server.options()), self.name, deployment, Local().of(deployment))

    def rotate(self) -> None:
        self.server.transit.rotate_key(self.name)

    def lose_the_oldest(self) -> None:
        newest = self.server.transit.read_key(self.name)["data"]["latest_version"]
        self.server.transit.update_key_configuration(self.name, min_decryption_version=newest)


@pytest.fixture(params=["local", "vault"])
def wrapper(request: Any) -> Wrapper:
    if request.param == "local":
        return Local()
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    return OnVault(request.getfixturevalue("vault"), name)


def test_keys_come_back_in_order(wrapper: Wrapper) -> None:
    keys = [(n.to_bytes(12), os.urandom(32)) for n in range(500)]  # more than a request to Vault takes
    ours = wrapper.of("shop")
    wrapped = ours.wrap(keys)
    assert all(key not in one for (_, key), one in zip(keys, wrapped, strict=True))
    stored = [(origin, one) for (origin, _), one in zip(keys, wrapped, strict=True)]
    assert wrapper.of("shop").unwrap(stored) == [key for _, key in keys]


def test_a_wrapped_key_opens_for_its_deployment_and_origin_alone(wrapper: Wrapper) -> None:
    ours = wrapper.of("shop")
    [wrapped] = ours.wrap([(ANA, KEY)])
    with pytest.raises(Foreign, match=f"origin {BOB.hex()} does not open with"):
        ours.unwrap([(BOB, wrapped)])
    with pytest.raises(Foreign, match="for another deployment or origin, or changed"):
        wrapper.of("other shop").unwrap([(ANA, wrapped)])
    changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    with pytest.raises(Foreign, match=f"origin {ANA.hex()} does not open"):
        ours.unwrap([(BOB, ours.wrap([(BOB, OTHER)])[0]), (ANA, changed)])


@pytest.mark.parametrize("garbage", [b"", b"x", b"x" * 45, b"x" * 40, b"\x01\0\0\0\x01short"])
def test_what_no_wrapping_ever_was_does_not_open(wrapper: Wrapper, garbage: bytes) -> None:
    with pytest.raises(NotOpened, match=f"origin {ANA.hex()} does not open"):
        wrapper.of("shop").unwrap([(ANA, garbage)])


def test_each_says_which_version_wrapped_it_and_the_newest_wraps(wrapper: Wrapper) -> None:
    ours = wrapper.of("shop")
    [old] = ours.wrap([(ANA, KEY)])
    first = ours.newest()
    wrapper.rotate()
    [new] = ours.wrap([(BOB, OTHER)])
    assert (wrapped_by(old), wrapped_by(new)) == (first, KekId(first.scheme, first.version + 1))
    assert ours.newest() == wrapped_by(new)
    assert {first, wrapped_by(new)} <= {*ours.known()}
    assert ours.unwrap([(ANA, old), (BOB, new)]) == [KEY, OTHER]
    assert [kek_id(str(kek)) for kek in ours.known()] == ours.known()


def test_what_is_wrapped_anew_has_the_newest_version_and_says_the_same(wrapper: Wrapper) -> None:
    ours = wrapper.of("shop")
    old = list(zip((ANA, BOB), ours.wrap([(ANA, KEY), (BOB, OTHER)]), strict=True))
    wrapper.rotate()
    fresh = ours.rewrap([*old, (BOB, old[0][1])])
    assert fresh[2] is None, "another origin's is left alone"
    stored = list(zip((ANA, BOB), filter(None, fresh), strict=False))
    assert {wrapped_by(wrapped) for _, wrapped in stored} == {ours.newest()}
    wrapper.lose_the_oldest()
    assert ours.unwrap(stored) == [KEY, OTHER]


def test_a_version_that_is_gone_is_named_and_waited_for(wrapper: Wrapper) -> None:
    ours = wrapper.of("shop")
    [old] = ours.wrap([(ANA, KEY)])
    wrapper.rotate()
    wrapper.lose_the_oldest()
    assert wrapped_by(old) not in ours.known()
    for refused in (ours.unwrap, ours.rewrap):
        with pytest.raises(KeysAway, match=rf"key {wrapped_by(old)} is missing: .* does not have it"):
            refused([(ANA, old)])


def test_vault_opens_what_the_key_file_wrapped_before_it(vault: "VaultServer", tmp_path: Path) -> None:
    from state.vault_transit import Transit, VaultWrapping

    vault.transit.create_key("after", derived=True)
    before = Local().of("shop")
    both = VaultWrapping(Transit(vault.options()), "after", "shop", before)
    [old] = before.wrap([(ANA, KEY)])
    [new] = both.wrap([(BOB, OTHER)])
    assert both.unwrap([(ANA, old), (BOB, new)]) == [KEY, OTHER]
    [anew] = both.rewrap([(ANA, old)])
    assert anew is not None
    assert str(wrapped_by(anew)) == "vault-1"
    assert both.unwrap([(ANA, anew)]) == [KEY]
    assert both.known() == [KekId(1, 1), KekId(2, 1)]
