"""An export says why a customer was scored so."""

from pathlib import Path

import pytest

from flows.logic.models.binary import BINARY
from flows.logic.models.linear import Scorer, Snapshot, probability
from flows.runtime.snapshots import sender, sign_snapshot
from flows.services.pages.subject_page import page
from flows.services.subjects import exporting
from schemas.records.identity_graph import shard_of
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from state.shards.shard_protocols import OutboxEntry
from tests.subjects import Erased, identify, viewed

FEATURES = BINARY["churn"].features


def test_each_score_comes_with_what_every_figure_adds_to_it(tmp_path: Path, redis_url: str) -> None:
    site = Erased(tmp_path, redis_url, archive=False)
    site.start()
    weights = tuple(0.1 * (place + 1) for place in range(len(FEATURES)))
    flat = (0.0,) * len(FEATURES)
    snapshot = Snapshot(
        model="churn", version=1, features=FEATURES, learner="x", examples=1, trained_ms=1, metrics={},
        intercept=-1.0, means=flat, deviations=(1.0,) * len(FEATURES), weights=weights, bends=(),
    )  # fmt: skip
    body = sign_snapshot(site.deployment.signer, snapshot)
    site.directory.announce(LogKind.MODEL, sender("churn"), 1, 1, body)
    site.say(identify("ana", "ana@example.org"), viewed(userId="ana"), viewed(userId="ana"))
    site.settle()
    found = exporting.export(site.deployment, "user_id:ana")
    because = found["scores_because_of"]["churn"]
    assert because.keys() == set(FEATURES)
    logit = -1.0 + sum(one["adds"] for one in because.values())
    asked = [because[name]["value"] for name in FEATURES]
    assert probability(logit) == pytest.approx(Scorer(snapshot).score(asked), abs=1e-4)
    assert any(one["value"] for one in because.values())
    adds = [abs(one["adds"]) for one in because.values()]
    assert adds == sorted(adds, reverse=True)
    assert "churn" in found["profile"]["scores"]
    assert "Why you were scored so" in page(found, "en")
    assert "评分的依据" in page(found, "zh")


def test_who_was_never_scored_has_no_reasons(tmp_path: Path, redis_url: str) -> None:
    site = Erased(tmp_path, redis_url, archive=False)
    site.start()
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    assert exporting.export(site.deployment, "user_id:ana")["scores_because_of"] == {}


def test_what_is_trimmed_meanwhile_is_not_taken_for_what_lies_behind_it(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two customers of one shard; of the first the trigger goes while its lane is read."""
    site = Erased(tmp_path, redis_url, archive=False)
    site.start()
    names = [f"u{number}" for number in range(40)]
    at = {name: shard_of(site.deployment.identifiers.hash("user_id", name) or b"", 4) for name in names}
    first, second = [name for name in names if at[name] == at["u0"]][:2]
    site.say(viewed(userId=first), viewed(userId=second))
    site.settle()
    deployment = site.deployment
    outbox, read = deployment.outbox, deployment.outbox.read

    def trimmed(lane: str, after: dict[int, int], count: int, block_ms: int) -> list[OutboxEntry]:
        found = read(lane, after, count, block_ms)
        if lane == Lane.TRIGGERS and found:
            outbox.drop(lane, found[0].shard, [found[0].seq])
        return found

    monkeypatch.setattr(outbox, "read", trimmed)
    waiting = exporting.export(deployment, f"user_id:{first}")["waiting_to_be_sent"]
    known = deployment.directory.lookup([deployment.identifiers.hash("user_id", first) or b""])[0]
    assert [one["customer"] for one in waiting] == [known.hex()]  # type: ignore[union-attr]
