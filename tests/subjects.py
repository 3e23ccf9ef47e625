"""A deployment on a real Redis whose customers are erased: flows and erasures are driven by hand."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import redis

from flows.runtime.deployment import Deployment
from flows.runtime.windows import Window
from flows.services.subjects import requests
from flows.services.subjects.erasing import Erasing, erasing_of
from schemas.config import Config
from schemas.config.toml import load
from schemas.records.privacy_requests import PrivacyRequest, Step
from schemas.wire.events import RawEvent
from tests.site import Site

CRM = """
[matching]
enabled = false
[[trigger]]
name = "viewed"
on = {event = "Product Viewed"}
to = ["crm"]
[[connector]]
name = "crm"
type = "file"
path = "PATH/crm.jsonl"
identify = ["user_id", "email"]
[data]
folder = "PATH/data"
"""


class Erased(Site):
    """Events are given by name; `settle` does what `profile` and `deliver` do."""

    def __init__(self, folder: Path, url: str, prefix: str = "mr", **options: Any) -> None:
        self.ids = count(1)
        super().__init__(folder, url, prefix, **options)

    def _configured(self, few: int) -> Config:
        super()._configured(few)
        self.file.write_text(self.file.read_text() + CRM.replace("PATH", str(self.folder)))
        return load(self.file)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.config)

    def say(self, *events: dict[str, Any], source: str = "web") -> None:
        """One window."""
        raw = [
            RawEvent(
                msgspec.json.encode({"type": "track", "messageId": f"e{next(self.ids)}"} | event),
                self.now_s * 1000,
                source,
            )
            for event in events
        ]
        before = self.directory.offsets().get("events/0", -1)
        positions = [before + 1 + at for at in range(len(raw))]
        window = Window("events/0", before, before + len(raw), raw, positions, opened=0.0)
        committed = self.resolver.commit(self.resolver.judge(window))
        assert committed is not None
        assert committed.after == window.after

    def settle(self) -> None:
        for _ in range(4):
            self.apply()
            self.forward()
        self.apply()

    def erasing(self) -> Erasing:
        return erasing_of(self.deployment)

    def erase(self, who: str, between: Callable[[], None] | None = None) -> PrivacyRequest:
        """All of it; `between`: after each time that it waits."""
        request = requests.erase(self.deployment, who, by="test").request
        return self.carry_on(request, between)

    def carry_on(self, request: PrivacyRequest, between: Callable[[], None] | None = None) -> PrivacyRequest:
        erasing = self.erasing()
        for _ in range(12):
            request = erasing.advance(request)
            if request.step == Step.DONE:
                return request
            (between or self.settle)()
        raise AssertionError(f"{request.id} stays at {request.step}")

    def keys_with(self, *wanted: bytes, but: tuple[bytes, ...] = ()) -> list[bytes]:
        """The keys of Redis that hold one of these anywhere, in plain sight."""
        self.client.config_set("rdbcompression", "no")
        prefix = self.prefix.encode()
        return [
            key
            for key in self.client.scan_iter(match=prefix + b":*", count=1000)
            if not key[len(prefix) + 1 :].startswith(but)
            and any(one in key or one in _content(self.client, key) for one in wanted)
        ]


def _content(client: redis.Redis, key: bytes) -> bytes:
    return client.dump(key) or b""


def ana(**more: Any) -> dict[str, Any]:
    return {"userId": "ana", "anonymousId": "ana-phone"} | more


def identify(user: str, email: str, **more: Any) -> dict[str, Any]:
    traits = {"email": email} | more.pop("traits", {})
    return {"type": "identify", "userId": user, "traits": traits} | more


def viewed(**more: Any) -> dict[str, Any]:
    return {"event": "Product Viewed", "properties": {"sku": "x"}} | more


def lines(path: Path) -> Iterator[dict[str, Any]]:
    return (msgspec.json.decode(line) for line in path.read_bytes().splitlines())
