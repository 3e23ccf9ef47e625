"""Clusters: found, named, and followed while they move."""

import numpy as np
import pytest

from flows.logic.models.cluster_assigner import Assigner
from flows.logic.models.clusters import Clusters, k_means
from schemas.errors import Foreign

FEATURES = ("orders", "money")
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 1_000.0]])


def customers(n: int, seed: int, moved: float = 0.0) -> list[list[float]]:
    chance = np.random.default_rng(seed)
    group = chance.choice(3, size=n, p=[0.5, 0.3, 0.2])
    noise = chance.standard_normal((n, 2)) * np.array([1.0, 50.0])
    centres = CENTRES + np.array([[0.0, 0.0], [moved, 0.0], [0.0, 0.0]])
    return (centres[group] + noise).tolist()


def learned(n: int = 2_000) -> Clusters:
    clusters = Clusters(FEATURES, 3)
    clusters.learn(customers(n, 0))
    return clusters


def names_of_centres(clusters: Clusters, moved: float = 0.0) -> list[str]:
    assigner = Assigner.from_snapshot(clusters.snapshot().pack(), FEATURES)
    return [
        assigner.assign(centre.tolist())[0]
        for centre in CENTRES + np.array([[0.0, 0.0], [moved, 0.0], [0.0, 0.0]])
    ]


def test_groups_are_found_and_the_largest_is_first() -> None:
    clusters = learned()
    assert names_of_centres(clusters) == ["c1", "c2", "c3"]
    assert clusters.snapshot().shares == pytest.approx((0.5, 0.3, 0.2), abs=0.06)


def test_names_stay_while_groups_move_and_the_drift_shows() -> None:
    clusters = learned()
    still = clusters.snapshot().drift
    for step in range(1, 6):
        clusters.learn(customers(1_000, step, moved=float(step)))
    assert names_of_centres(clusters, moved=5.0) == ["c1", "c2", "c3"]
    assert clusters.snapshot().drift[1] > max(still)


def test_the_same_examples_give_the_same_bytes_however_often_it_was_stopped() -> None:
    given = customers(2_500, 3)
    whole, stopped = Clusters(FEATURES, 3), Clusters(FEATURES, 3)
    whole.learn(given)
    for start in range(0, len(given), 301):
        fresh = Clusters(FEATURES, 3)
        assert fresh.load(stopped.dump())
        fresh.learn(given[start : start + 301])
        stopped = fresh
    assert stopped.dump() == whole.dump()


def test_memory_is_bounded() -> None:
    clusters = learned(600)
    before = len(clusters.dump())
    clusters.learn(customers(2_000, 1))
    assert len(clusters.dump()) < before + 50


def test_missing_infinite_and_constant_features() -> None:
    clusters = Clusters(("x", "constant"), 2)
    clusters.learn([float(number % 2) * 10, 5.0] for number in range(200))
    clusters.learn([[float("nan"), float("inf")], [1e300, -float("inf")], [1.0]])
    assert clusters.dropped == 1
    assigner = Assigner(clusters.snapshot())
    assert assigner.assign([0.0, 5.0])[0] != assigner.assign([10.0, 5.0])[0]
    name, distance = assigner.assign([float("nan"), float("inf")])
    assert name in ("c1", "c2")
    assert np.isfinite(distance)


def test_fewer_kinds_of_customers_than_clusters() -> None:
    clusters = Clusters(FEATURES, 3)
    clusters.learn([[1.0, 1.0]] * 100)
    assert Assigner(clusters.snapshot()).assign([1.0, 1.0]) == ("c1", 0.0)


def test_k_means_comes_to_rest_at_means() -> None:
    points = np.array([[0.0], [1.0], [9.0], [11.0]])
    np.testing.assert_allclose(np.sort(k_means(points, np.array([[0.0], [1.0]])), axis=0), [[0.5], [10.0]])


def test_damage_and_other_features_are_refused() -> None:
    clusters = learned(100)
    with pytest.raises(Foreign):
        Assigner.from_snapshot(b"x", FEATURES)
    with pytest.raises(Foreign, match="expected"):
        Assigner.from_snapshot(clusters.snapshot().pack(), ("other",))
    with pytest.raises(Foreign):
        clusters.load(clusters.dump()[:-1])
    assert not Clusters(FEATURES, 4).load(clusters.dump())
