"""Follows one customer from the first anonymous page to a delivered trigger, as a timeline that can be
read."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flows.lab.demo.shop import Item
from flows.lab.demo.trigger_receiver import Got

_LINES = 40
_SHOWN = ("email", "name", "phone")  # as masked by the engine
_STORY_MS = 30_000  # then the next customer is followed

ReadProfile = Callable[[str, str], dict[str, Any] | None]


class Follower:
    """Fed from the threads of the publisher and of the receiver; `look` is called by whoever draws."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._person: int | None = None
        self._causes: dict[str, int] = {}  # messageId -> when
        self._handles: dict[str, str] = {}  # the last identifier of each namespace
        self._profile: dict[str, Any] = {}  # as last seen
        self._lines: deque[tuple[str, str, str]] = deque(maxlen=_LINES)
        self._began_ms = 0

    def published(self, item: Item, at_ms: int) -> None:
        """Take the items of one `story` after the other, each from its first."""
        message = item.message
        if item.journey != "story" or not item.valid or item.duplicate or isinstance(message, bytes):
            return
        with self._lock:
            if item.step == 0 and at_ms - self._began_ms > _STORY_MS:
                self._begin(item.person, at_ms)
            if item.person != self._person:
                return
            self._causes[message["messageId"]] = at_ms
            for namespace, key in (("anonymous", "anonymousId"), ("user_id", "userId")):
                if key in message:
                    self._handles[namespace] = message[key]
            self._write(at_ms, item.channel, _told(message))

    def delivered(self, got: Got) -> None:
        """Take a trigger that one of this customer's events caused."""
        with self._lock:
            cause_ms = self._causes.get(got.cause.rsplit(":", 1)[-1])
            if cause_ms is None:
                return
            waited = "after its timer" if got.timed else f"{got.arrived_ms - cause_ms} ms after the event"
            self._write(got.arrived_ms, "trigger", f"{got.rule} delivered, {waited}")

    def look(self, read: ReadProfile, now_ms: int) -> list[tuple[str, str, str]]:
        """Return (time, where, what) of each line, oldest first, after a look at the customer's profile."""
        with self._lock:
            handles = dict(self._handles)
        profile = next(
            filter(
                None,
                (
                    read(namespace, handles[namespace])
                    for namespace in ("user_id", "anonymous")
                    if namespace in handles
                ),
            ),
            None,
        )
        with self._lock:
            if profile and handles == self._handles:
                self._note(profile, now_ms)
            return list(self._lines)

    def _note(self, profile: dict[str, Any], now_ms: int) -> None:
        """A line for each thing of the profile that was not so at the last look."""
        known = self._profile
        if profile["customer"] != known.get("customer"):
            self._write(
                now_ms, "profile", f"{'is now' if known else 'known as'} customer {profile['customer'][:8]}…"
            )
        for what in ("segment", "stage"):
            if profile[what] and profile[what] != known.get(what):
                self._write(now_ms, "profile", f"{what} {profile[what]}")
        for tag in sorted(set(profile["tags"]) - set(known.get("tags", ()))):
            self._write(now_ms, "profile", f"tag {tag}")
        if profile["identifiers"] != known.get("identifiers"):
            shown = ", ".join(
                f"{name} {masked}" for name, masked in profile["identifiers"].items() if name in _SHOWN
            )
            self._write(now_ms, "profile", f"{profile['events']} events; {shown or 'no contact details'}")
        self._profile = profile

    def _begin(self, person: int, at_ms: int) -> None:
        self._person, self._began_ms = person, at_ms
        for memory in (self._causes, self._handles, self._profile, self._lines):
            memory.clear()

    def _write(self, at_ms: int, where: str, what: str) -> None:
        self._lines.append((_clock(at_ms), where, what))


def _clock(at_ms: int) -> str:
    """The time of day here, to a hundredth."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-4]


def _told(message: dict[str, Any]) -> str:
    who = "" if "userId" in message else "somebody unknown: "
    match message["type"]:
        case "identify":
            return f"logs in as {message['traits']['name']}"
        case "track":
            about = message["properties"]
            detail = next(
                (f" ({about[key]})" for key in ("total", "name", "rating", "topic") if key in about), ""
            )
            return f"{who}{message['event']}{detail}"
        case kind:
            return f"{who}{kind} “{message['name']}”"
