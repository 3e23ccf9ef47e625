"""The deployment that is put to the proof: all processes of `millrace run all` with the packaged
configuration, all that is optional switched on, logs at debug level, in a folder of its own; and who receives
its triggers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from connectors.raw.log import START
from flows.lab.chaos.moody_receiver import Moody
from flows.lab.chaos.ports import free_ports
from flows.lab.demo.stack import Stack, configuration
from flows.lab.demo.trigger_receiver import Got
from flows.runtime.deployment import Deployment
from flows.services import status
from schemas.config import ATTRIBUTES, Config
from schemas.errors import Unreachable
from state.dsr_signing import self_signed

STEWARD, READER, PRIVACY = "prove-steward", "prove-read", "prove-privacy"  # tokens
KEY, CRM_KEY = "prove", "prove-crm"  # write keys
PLANNED: Final = "Survey Answered"  # the event that the tracking plan knows
CRM, BROKEN, LEDGER, STREAM = "crm", "broken", "ledger", "stream"  # connectors besides the demo's own
DOMAIN: Final = "opendsr.example.org"  # where controllers would reach it
TOPIC: Final = "topic"  # and this one, with Kafka
EVENTS_TOPIC, APPS_TOPIC, TRIGGERS_TOPIC = "prove.events", "prove.apps", "prove.triggers"
SHARDS, PARTITIONS = 2, 2  # few shards: each worker of `profile` sees many customers, however many cores
WAIT_S: Final = 120.0
_LOOK_S: Final = 0.05
_COMMAND_S: Final = 120.0
_QUIET_S: Final = 0.5  # nothing is behind for so long: it has finished
# Headings that the packaged configuration does not list, and that this deployment does.
LISTED: Final = ("plate", "车牌")
_PLAN: Final = {
    "type": "object",
    "required": ["rating"],
    "properties": {"rating": {"type": "integer"}, "nickname": {"enum": ["none"]}},
    "additionalProperties": False,
}


class Collector(Moody):
    """Keeps what it is sent, byte for byte."""

    def __init__(self) -> None:
        super().__init__(_nobody)
        self.bodies: list[bytes] = []

    def take(self, headers: dict[str, str], body: bytes, arrived_ms: int | None = None) -> int:
        self.bodies.append(body)
        return super().take(headers, body, arrived_ms)


def document(
    folder: Path, plain: Collector, crm: Collector, broken: Collector, bootstrap: str = ""
) -> dict[str, Any]:
    """Return the configuration. `plain` is told of nobody who a trigger is about, `crm` and `broken` are.
    `bootstrap`: of Kafka; empty where the raw log is in Redis."""
    made = configuration(None, folder / "data", plain)
    gateway, metrics = free_ports(2)
    plan = folder / "plan.json"
    plan.write_text(json.dumps(_PLAN))
    made["name"] = "prove"
    made["log"] = {"level": "debug", "format": "json"}
    made["raw"] = {"partitions": PARTITIONS}
    made["shards"] = {"count": SHARDS}
    made["metrics"] = {"listen": f"127.0.0.1:{metrics}"}
    made["archive"] = {"enabled": True, "rotate_every": "10s"}
    made["opendsr"] = {
        "url": f"https://{DOMAIN}",
        "key": str(folder / "opendsr.key"),
        "certificate": str(folder / "opendsr.pem"),
        "allow_private": True,
    }
    self_signed(folder, DOMAIN)
    made["backup"] = {"daily": "03:00"}  # so that the data keys are copied
    made["deliver"] = {"attempts": 2, "backoff": "100ms", "backoff_max": "200ms", "breaker_failures": 1_000}
    made["gateway"] |= {
        "listen": f"127.0.0.1:{gateway}",
        "steward_tokens": [STEWARD],
        "read_tokens": [READER],
        "privacy_tokens": [PRIVACY],
        "write_keys": [
            {"key": KEY, "source": "web", "events_per_second": 100_000},
            {"key": CRM_KEY, "source": "crm", "merges": True},
        ],
    }
    made["validate"] = made.get("validate", {}) | {
        "reject_percent": 100.0,
        "poison_percent": 100.0,
        "plan": [{"event": PLANNED, "schema": str(plan)}],
    }
    made["privacy"]["sensitive"] += LISTED
    made["privacy"]["attributes"] = list(ATTRIBUTES)  # what is derived stands in the open
    known = ["user_id", "email", "phone", "idNumber"]
    hook = {"type": "webhook", "allow_private": True, "timeout": "5s", "identify": known}
    for connector in made["connector"]:
        connector["identify"] = []  # the packaged one tells the user id, on purpose
    made["connector"] += [
        {"name": CRM, "url": crm.url, "secrets": [crm.secret], **hook},
        {"name": BROKEN, "url": broken.url, "secrets": [broken.secret], **hook},
        {"name": LEDGER, "type": "file", "path": str(folder / "told-on-purpose.jsonl"), "identify": known},
        {"name": STREAM, "type": "redis", "stream": "mr:prove:triggers", "identify": []},
    ]
    to = [CRM, LEDGER, STREAM]
    if bootstrap:
        made["raw"] = {"log": "kafka"}
        made["kafka"] = {"bootstrap": bootstrap, "topics": [EVENTS_TOPIC, APPS_TOPIC]}
        made["connector"].append({"name": TOPIC, "type": "kafka", "topic": TRIGGERS_TOPIC, "identify": []})
        to.append(TOPIC)
    for rule in made["trigger"]:
        rule["to"] = [*dict.fromkeys((*rule["to"], *to))]
        if rule["name"] == "demo_order":
            rule["to"].append(BROKEN)
    return made


class Scratch:
    """The running deployment, and what a way may do to it."""

    def __init__(self, stack: Stack, plain: Collector, crm: Collector, broken: Collector) -> None:
        self.stack = stack
        self.plain = plain
        self.crm = crm
        self.broken = broken
        self.config: Config = stack.config
        self.deployment = Deployment(self.config)
        self.file = Path(self.config.data.folder) / "prove.toml"
        # Outside of what is searched: what is given to the commands.
        self.inbox = Path(self.config.data.folder).parent / "given"
        self.inbox.mkdir(exist_ok=True)
        self.http = httpx.Client(base_url=stack.url, timeout=30)
        self.answers: list[bytes] = []  # of the gateway
        self.reports: dict[str, bytes] = {}  # what commands printed or wrote, by their words

    def post(self, path: str, body: Any, key: str = KEY, **headers: str) -> httpx.Response:
        """Send something to the gateway; its answer is searched."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.noted(self.http.post(path, content=content, auth=(key, ""), headers=sent))

    def batch(self, messages: Sequence[Mapping[str, Any]], key: str = KEY, **more: Any) -> int:
        """Send a batch, and return how many events it has. Raises `Unreachable` where it is not taken."""
        answer = self.post("/v1/batch", {"batch": list(messages), **more}, key)
        if answer.status_code != 200:
            raise Unreachable(f"the gateway answered a batch with {answer.status_code}: {answer.text[:200]}")
        return len(messages)

    def get(self, path: str, token: str) -> httpx.Response:
        """Read something at the gateway; its answer is searched."""
        return self.noted(self.http.get(path, auth=(token, "")))

    def steward(self, path: str) -> Any:
        """Read what stewards see in the clear: that is what it is for, and it is not searched."""
        return self.http.get(path, auth=(STEWARD, "")).json()

    def asked(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as the holder of a privacy token, and return the answer; of what it repeats on purpose nothing
        is searched."""
        return self.http.request(method, path, json=body, auth=(PRIVACY, "")).json()

    def command(self, *words: str, configured: bool = True) -> str:
        """Run `millrace ...` (with our configuration, unless it is an argument) and return what it prints,
        which is searched; errors too, and whatever its exit code is."""
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "flows.cli",
                *words,
                *(["-c", str(self.file)] if configured else []),
            ],
            capture_output=True,
            timeout=_COMMAND_S,
            check=False,
            env={name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
        )
        said = done.stdout + done.stderr
        self.reports[f"{len(self.reports)} {' '.join(words[:2])}"] = said
        return said.decode(errors="replace")

    def settle(self) -> None:
        """Return when nothing is behind any more. Raises `Unreachable` if that takes too long."""
        quiet_since = time.monotonic()
        deadline = quiet_since + WAIT_S
        while time.monotonic() - quiet_since < _QUIET_S:
            self.stack.check()
            if time.monotonic() > deadline:
                raise Unreachable(f"not everything was handled after {WAIT_S:.0f} s (see {self.stack.log})")
            if not self._is_idle():
                quiet_since = time.monotonic()
            time.sleep(_LOOK_S)

    def _is_idle(self) -> bool:
        deployment = self.deployment
        reader = deployment.raw_reader()
        try:
            offsets = deployment.directory.offsets()
            reader.assign({partition: offsets.get(partition, START) for partition in reader.partitions()})
            unread = any(reader.lag().values())
        finally:
            reader.close()
        behind = status.overview(deployment).status.behind
        return not unread and not any(row.entries for row in behind if not row.reader.startswith("learn"))

    def noted(self, answer: httpx.Response) -> httpx.Response:
        """Have an answer searched."""
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append(head.encode() + b"\n\n" + answer.content)
        return answer


def _nobody(_got: Got) -> None:
    """What is received is counted by its bytes alone."""
