"""The demo's own configuration, and millrace itself: `millrace run all` in a process of its own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from flows.lab.demo.shop import WRITE_KEYS
from flows.lab.demo.trigger_receiver import Receiver
from schemas.config import Config, Consent, Gateway
from schemas.config.toml import DEFAULT, load
from schemas.errors import Unreachable
from state.redis.embedded import die_with_parent

CONNECTOR = "demo-receiver"
ORDERS = "demo_order"  # fires once for each order, so that triggers can be counted against what was published
SOON = {"horizon": "5s", "every": "2s"}  # of all models
OFFER, WISHED = "demo_offer", "Product Added to Wishlist"  # fires on this event, for a purpose that is asked
TIMER = "5s"  # timers of the rules, which wait for minutes or hours in earnest

_MAIN = "flows.lab.demo.defect"  # millrace, with a defect planted in it
_READY_S = 240.0  # a machine that others use starts eight processes in a minute or two
_SAY_S = 15.0
_MISSES_PER_MINUTE = 1_000_000  # the demo counts people who are still on their way, again and again
_STOP_S = 15.0
_PORT_TRIES = 10


def configuration(base: Path | None, folder: Path | None, receiver: Receiver) -> dict[str, Any]:
    """Return the base file (or the packaged one) as a TOML document, changed so that all of it can be seen
    within seconds.

    `folder` is the data folder, or `None` for the one that the file names. Secrets of the base stay
    `${NAME}`.
    """
    document = tomllib.loads((base or DEFAULT).read_text(encoding="utf-8"))
    here = (base.absolute().parent if base else Path.cwd()).resolve()
    data, gateway = document.setdefault("data", {}), document.setdefault("gateway", {})
    data["folder"] = str(folder.resolve() if folder else here / data.get("folder", "data"))
    gateway["listen"] = f"127.0.0.1:{_port(gateway.get('listen', '127.0.0.1:8080'))}"
    known_by = secrets.token_urlsafe(16)  # the demo's own gateway
    gateway["misses_per_minute"] = _MISSES_PER_MINUTE
    gateway["read_tokens"] = [known_by, *gateway.get("read_tokens", Gateway().read_tokens)]
    own_keys = [{"key": key, "source": channel} for channel, key in WRITE_KEYS.items()]
    gateway["write_keys"] = [
        *(entry for entry in gateway.get("write_keys", ()) if entry["key"] not in WRITE_KEYS.values()),
        *own_keys,
    ]
    for plan in document.get("validate", {}).get("plan", ()):
        plan["schema"] = str(here / plan["schema"])
    document["churn"] = document.get("churn", {}) | SOON
    for model in document.get("model", ()):
        # Tickets are rated within two seconds.
        model |= SOON | ({"horizon": "3s"} if model["name"] == "complaint" else {})
    if document.get("action"):
        document["best_action"] = document.get("best_action", {}) | {"within": TIMER}
        document["action"] = [
            {**action, "to": [*action["to"], CONNECTOR]} if action.get("to") else action
            for action in document["action"]
        ]
    if document.get("clusters", {}).get("enabled"):
        document["clusters"] |= {"every": "2s"}
    rules = [
        *document.get("trigger", ()),
        {"name": ORDERS, "on": {"event": "Order Completed"}, "action": "thank", "purpose": "service"},
    ]
    if purpose := _asked(document):
        offer = {"action": "offer", "channel": "email", "purpose": purpose}
        rules.append({"name": OFFER, "on": {"event": WISHED}} | offer)
    for rule in rules:
        rule["to"] = [*rule.get("to", ()), CONNECTOR]
        if "within" in rule["on"]:
            rule["on"]["within"] = TIMER
    document["trigger"] = rules
    webhook = {
        "name": CONNECTOR,
        "type": "webhook",
        "url": receiver.url,
        "secrets": [receiver.secret],
        "allow_private": True,
    }
    document["connector"] = [*document.get("connector", ()), webhook]
    return document


def _asked(document: Mapping[str, Any]) -> str:
    """Return a purpose that customers are asked about: marketing, where there is such a one; empty if none
    is."""
    told = document.get("consent", {}).get("purpose")
    purposes = [
        (purpose["name"], purpose.get("required", False))
        for purpose in (told or map(msgspec.structs.asdict, Consent().purpose))
    ]
    asked = [name for name, required in purposes if not required]
    return next((name for name in asked if name == "marketing"), next(iter(asked), ""))


class Stack:
    """A context: entering starts millrace and waits until it is ready, leaving stops it."""

    def __init__(self, document: Mapping[str, Any], name: str = "demo") -> None:
        """Take the `name` of its configuration file and its log in the data folder."""
        folder = Path(document["data"]["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.toml"
        # Only for us: it holds the receiver's secret.
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(to_toml(document))
        self.config: Config = load(self._file)
        self.url = f"http://{self.config.gateway.listen}"
        self.log = folder / f"{name}.log"
        self.patience_s = _STOP_S  # with its end; what is killed then loses nothing
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        argv = [sys.executable, "-P", "-m", _MAIN, "run", "all", "-c", str(self._file)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the demo, which then stops it in order
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return that of the supervisor, while it runs."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise `Unreachable` if millrace has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise Unreachable(f"millrace ended with code {code}: {self._last_words()}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait(self) -> None:
        begun = said = time.monotonic()
        while not self._ready():
            self.check()
            now = time.monotonic()
            if now - begun > _READY_S:
                raise Unreachable(
                    f"the gateway at {self.url} is not ready after {_READY_S:.0f} s: {self._last_words()}"
                )
            if now - said > _SAY_S:
                said = now
                line = (
                    f"waiting for the gateway at {self.url}, {now - begun:.0f} s so "
                    f"far; what happens: {self.log}"
                )
                print(line, file=sys.stderr, flush=True)  # a person waits
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200 and self._is_ours()
        except httpx.TransportError:
            return False

    def _is_ours(self) -> bool:
        """Whether it is our gateway that answers: another one does not know our token."""
        if not self.config.gateway.read_tokens:
            return True
        token = str(self.config.gateway.read_tokens[0])
        return (
            httpx.get(f"{self.url}/v1/profiles/anonymous:nobody", auth=(token, ""), timeout=2).status_code
            != 401
        )

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (see {self.log})"


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a document of `tomllib` as TOML: tables and lists of tables at the top, all below them inline."""
    plain, tables = [], []
    for name, value in document.items():
        if isinstance(value, Mapping):
            tables.append("\n".join([f"[{_text(name)}]", *_lines(value)]))
        elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            tables += ["\n".join([f"[[{_text(name)}]]", *_lines(entry)]) for entry in value]
        else:
            plain.append(f"{_text(name)} = {_inline(value)}")
    return "\n\n".join(["\n".join(plain), *tables]).lstrip() + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_text(name)} = {_inline(value)}" for name, value in table.items()]


def _inline(value: Any) -> str:
    match value:
        case Mapping():
            return "{" + ", ".join(_lines(value)) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case str():
            return _text(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _text(value: str) -> str:
    # The one character that JSON allows and TOML does not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_held: dict[int, socket.socket] = {}  # ports that this process has promised to a gateway


def _port(listen: str) -> int:
    """The port of `listen` if it is free on the loopback address, else one that is.

    The gateway will listen on it only in a while. Until this process ends the UDP port of the same number is
    held, which nobody else wants: so another demo that starts meanwhile does not choose it as well.
    """
    wanted = int(listen.rpartition(":")[2])
    for port in (wanted, *[0] * _PORT_TRIES):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                _hold(chosen := int(probe.getsockname()[1]))
            except OSError:
                continue
            return chosen
    raise Unreachable("no free port on 127.0.0.1")


def _hold(port: int) -> None:
    """Raises `OSError` where another process holds it."""
    if port in _held:
        return
    sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sign.bind(("127.0.0.1", port))
    except OSError:
        sign.close()
        raise
    _held[port] = sign
