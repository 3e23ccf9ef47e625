"""The process of the gateway, beside its HTTP server."""

from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from flows.gateway import open_door
from flows.runtime.deployment import Deployment
from schemas.config import PlanEvent
from schemas.records.identity_graph import ID_MAX
from schemas.wire.events import RawEvent
from tests.key_files import load_keys
from tests.site import Site

DAY_MS = 86_400_000


def test_a_plan_that_cannot_be_used_ends_no_gateway(tmp_path: Path, redis_url: str) -> None:
    """It ends `resolve`, until it is mended; what apps send meanwhile must not be lost."""
    plan = tmp_path / "viewed.json"
    plan.write_text("{")
    config = Site(tmp_path, redis_url, archive=False).config
    load_keys(Path(config.keys.path), create=True)
    validate = msgspec.structs.replace(config.validate, plan=(PlanEvent(event="Viewed", schema=str(plan)),))
    with capture_logs() as said:
        door = open_door(Deployment(msgspec.structs.replace(config, validate=validate)))
    [line] = [line for line in said if line["event"] == "plan_unusable"]
    assert "viewed.json" in line["error"]
    assert judged(door, "maria") is None
    assert judged(door, "m" * (ID_MAX + 1)) is not None, "it refuses as ever"


def judged(door: object, user: str) -> object:
    event = {"type": "track", "event": "Viewed", "userId": user, "messageId": "m1"}
    return door._judge(RawEvent(msgspec.json.encode(event), 20_000 * DAY_MS, "web"))  # type: ignore[attr-defined]
