"""An export says why a customer was scored so."""

from pathlib import Path

import pytest

from flows.logic.models.binary import BINARY
from flows.logic.models.linear import Scorer, Snapshot, probability
from flows.runtime.snapshots import sender, sign_snapshot
from flows.services.pages.subject_page import page
from flows.services.subjects import exporting
from schemas.records.shard_log import LogKind
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
