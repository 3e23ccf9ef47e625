"""What the engine says about itself, in one reading: the totals of shards and directory, and how far each
flow is behind."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import httpx
import msgspec
import stamina
from prometheus_client.parser import text_string_to_metric_families

from flows.lab.demo.oddities import ALIAS_OF_USERS
from flows.services.status import Status


class Figures(msgspec.Struct, frozen=True):
    """Totals since the deployment was made, except `tags`, `segments`, `lag` and `models`, which are as of
    now."""

    applied: int = 0
    duplicates: int = 0
    profiles: int = 0
    united: int = 0
    moved: int = 0
    triggers: dict[str, int] = {}  # by rule
    rejected: dict[str, int] = {}  # by reason
    tags: dict[str, int] = {}  # customers that have it
    segments: dict[str, int] = {}
    lag: dict[str, int] = {}  # entries not yet read, by reader
    examples: dict[str, int] = {}  # learnt, by model
    versions: dict[str, int] = {}  # of each model, as last announced; as of now
    actions: dict[str, int] = {}  # by name: how often each was the best

    @classmethod
    def of(
        cls,
        totals: Mapping[str, int],
        lag: Mapping[str, int],
        examples: Mapping[str, int] = {},
        versions: Mapping[str, int] = {},
    ) -> Self:
        return cls(
            applied=totals.get("applied", 0),
            duplicates=totals.get("duplicates", 0),
            profiles=totals.get("profiles", 0),
            united=totals.get("united", 0),
            moved=totals.get("moved", 0),
            triggers=_under(totals, "triggers:"),
            rejected=_under(totals, "rejected:"),
            tags=_under(totals, "tag:"),
            segments=_under(totals, "segment:"),
            lag=dict(lag),
            examples=dict(examples),
            versions=dict(versions),
            actions=_under(totals, "actions:"),
        )

    @property
    def rejects(self) -> int:
        return sum(self.rejected.values())

    @property
    def malformed(self) -> int:
        """Return the rejects without those that are no fault of the event alone: an alias between two users
        who are both known by then."""
        return self.rejects - self.rejected.get(ALIAS_OF_USERS, 0)

    @property
    def emitted(self) -> int:
        return sum(self.triggers.values())

    def since(self, before: "Figures") -> "Figures":
        """Return the totals without those of an earlier reading."""
        return msgspec.structs.replace(
            self,
            applied=self.applied - before.applied,
            duplicates=self.duplicates - before.duplicates,
            profiles=self.profiles - before.profiles,
            united=self.united - before.united,
            moved=self.moved - before.moved,
            triggers=_less(self.triggers, before.triggers),
            rejected=_less(self.rejected, before.rejected),
            examples=_less(self.examples, before.examples),
            actions=_less(self.actions, before.actions),
        )


class Observer:
    """Reads figures and profiles of a running deployment."""

    def __init__(self, status: Callable[[], Status], url: str, token: str) -> None:
        self._status = status
        self._http = httpx.Client(base_url=url, timeout=5, auth=(token, ""))
        self._patience_s = 10.0

    def look(self) -> Figures:
        status = self._status()
        metrics = self._http.get(
            "/metrics"
        ).text  # how much lies in the raw log is known to its readers alone
        lag = {"resolve": raw_lag(metrics)} | {row.reader: row.entries for row in status.behind}
        return Figures.of(
            status.totals,
            lag,
            of_models(metrics, "millrace_model_examples"),
            of_models(metrics, "millrace_model_version"),
        )

    def hurry(self, patience_s: float) -> None:
        """Wait no longer than that for a profile from here on."""
        self._patience_s = patience_s

    def profile(self, namespace: str, value: str) -> dict[str, Any] | None:
        """Read a profile as any client does, through the gateway; `None` if nobody is known by this
        identifier."""
        for attempt in stamina.retry_context(on=httpx.TransportError, attempts=6, timeout=self._patience_s):
            with attempt:
                answer = self._http.get(
                    f"/v1/profiles/{namespace}:{value}", timeout=min(5.0, self._patience_s)
                )
        if answer.status_code == 404:
            return None
        profile: dict[str, Any] = answer.raise_for_status().json()
        return profile

    def close(self) -> None:
        self._http.close()


def raw_lag(metrics: str) -> int:
    """Return the number of entries of the raw log that no window has, out of a Prometheus exposition."""
    families = text_string_to_metric_families(metrics)
    lags = (sample for family in families if family.name == "millrace_lag" for sample in family.samples)
    return sum(int(sample.value) for sample in lags if sample.labels["flow"] == "resolve")


def of_models(metrics: str, name: str) -> dict[str, int]:
    """Return a counter or gauge by model, out of a Prometheus exposition."""
    samples = (
        sample
        for family in text_string_to_metric_families(metrics)
        if family.name == name
        for sample in family.samples
    )
    return {
        sample.labels["model"]: int(sample.value)
        for sample in samples
        if not sample.name.endswith("_created")
    }


def percentile(values: list[int], part: float) -> int | None:
    """Return the nearest-rank percentile; `None` of nothing."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else None


def _under(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): value for name, value in counters.items() if name.startswith(prefix)}


def _less(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in now.items()}
