"""Vault's engine Transit over TLS, on a real server whose certificate no system trusts."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest

from flows.lab.chaos.ports import free_ports
from schemas.config import Secret, Vault
from schemas.errors import KeysAway
from state.vault_transit import Transit
from tests.vault_server import program
from tests.waiting import eventually


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Give the address of a server that has made itself a certificate, `vault-ca.pem`."""
    (port,) = free_ports(1)
    found, log = f"https://127.0.0.1:{port}", tmp_path / "log"
    argv = [
        str(program()),
        "server",
        "-dev-tls",
        f"-dev-tls-cert-dir={tmp_path}",
        "-dev-root-token-id=root",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as output:
        home = os.environ | {"HOME": str(tmp_path)}
        server = subprocess.Popen(argv, env=home, stdout=output, stderr=output)
    try:
        eventually(lambda: "Root Token" in log.read_text(), log.read_text)
        yield found
    finally:
        server.kill()
        server.wait()


def test_a_server_is_believed_by_the_certificate_that_signed_its_own(url: str, tmp_path: Path) -> None:
    ca = str(tmp_path / "vault-ca.pem")
    hvac.Client(url, token="root", verify=ca).sys.enable_secrets_engine("transit")
    trusting = Transit(Vault(url=url, token=Secret("root"), ca=ca))
    trusting.create("k")
    [wrapped] = trusting.encrypt("k", [(b"context", b"plain")])
    assert trusting.decrypt("k", [(b"context", wrapped)]) == [b"plain"]
    with pytest.raises(KeysAway, match=rf"^Vault at {url}, transit: cannot be reached \(SSLError\)$"):
        Transit(Vault(url=url, token=Secret("root"))).key("k")


def test_what_stands_in_the_way_is_one_line_without_a_secret(url: str, tmp_path: Path) -> None:
    ca = str(tmp_path / "vault-ca.pem")
    for options, says in (
        (Vault(url=url, token=Secret("hvs.wrong"), ca=ca), "Forbidden: permission denied"),
        (Vault(url=url, token=Secret("root"), ca=ca, mount="no"), 'InvalidPath: no handler for route "no/'),
        (Vault(url=url, token_file=str(tmp_path / "none"), ca=ca), "the token for Vault, cannot be read: No"),
        (
            Vault(url=url, token=Secret("root"), ca=str(tmp_path / "none")),
            "the certificate for Vault, is not there",
        ),
    ):
        with pytest.raises(KeysAway) as caught:
            Transit(options).key("k")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "hvs.wrong" not in str(caught.value)
