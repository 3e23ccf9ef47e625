"""What the engine says about itself, in one reading: shard counters, directory counters, lags."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, Self

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families


class Figures(msgspec.Struct, frozen=True):
    """Totals since the deployment was made, except `tags`, `segments` and `lag`, which are as of now."""

    applied: int = 0
    duplicates: int = 0
    profiles: int = 0
    united: int = 0
    moved: int = 0
    triggers: dict[str, int] = {}  # by rule
    held: dict[str, int] = {}  # rules that fired and did not send, by reason
    rejected: dict[str, int] = {}  # by reason
    tags: dict[str, int] = {}  # customers that have it
    segments: dict[str, int] = {}
    lag: dict[str, int] = {}  # entries not yet read, by flow

    @classmethod
    def of(cls, shards: Mapping[str, int], directory: Mapping[str, int], lag: Mapping[str, int]) -> Self:
        return cls(
            applied=shards.get("applied", 0),
            duplicates=shards.get("duplicates", 0),
            profiles=shards.get("profiles", 0),
            united=directory.get("united", 0),
            moved=directory.get("moved", 0),
            triggers=_under(shards, "triggers:"),
            held=_under(shards, "decisions:"),
            rejected=_under(directory, "rejected:"),
            tags=_under(shards, "tag:"),
            segments=_under(shards, "segment:"),
            lag=dict(lag),
        )

    @property
    def rejects(self) -> int:
        return sum(self.rejected.values())

    @property
    def emitted(self) -> int:
        return sum(self.triggers.values())

    def since(self, before: "Figures") -> "Figures":
        """The totals without those of an earlier reading."""
        return msgspec.structs.replace(
            self,
            applied=self.applied - before.applied,
            duplicates=self.duplicates - before.duplicates,
            profiles=self.profiles - before.profiles,
            united=self.united - before.united,
            moved=self.moved - before.moved,
            triggers=_less(self.triggers, before.triggers),
            held=_less(self.held, before.held),
            rejected=_less(self.rejected, before.rejected),
        )


class Shards(Protocol):
    """What is asked of the shards."""

    def counters(self) -> dict[str, int]: ...


class Directory(Protocol):
    """What is asked of the directory."""

    def stats(self) -> dict[str, int]: ...


class Observer:
    """Reads figures and profiles of a running deployment."""

    def __init__(self, shards: Shards, directory: Directory, url: str, token: str) -> None:
        self._shards = shards
        self._directory = directory
        self._http = httpx.Client(base_url=url, timeout=5, auth=(token, ""))

    def look(self) -> Figures:
        metrics = self._http.get("/metrics").text
        return Figures.of(self._shards.counters(), self._directory.stats(), lags(metrics))

    def profile(self, namespace: str, value: str) -> dict[str, Any] | None:
        """As any client reads it, through the gateway; `None` if nobody is known by this identifier."""
        answer = self._http.get(f"/v1/profiles/{namespace}:{value}")
        if answer.status_code == 404:
            return None
        profile: dict[str, Any] = answer.raise_for_status().json()
        return profile

    def close(self) -> None:
        self._http.close()


def lags(metrics: str) -> dict[str, int]:
    """Entries not yet read, by flow, out of a Prometheus exposition."""
    totals: dict[str, int] = {}
    for family in text_string_to_metric_families(metrics):
        if family.name == "millrace_lag":
            for sample in family.samples:
                flow = sample.labels["flow"]
                totals[flow] = totals.get(flow, 0) + int(sample.value)
    return totals


def percentile(values: list[int], part: float) -> int | None:
    """The nearest-rank percentile; none of nothing."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else None


def _under(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): value for name, value in counters.items() if name.startswith(prefix)}


def _less(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in now.items()}
