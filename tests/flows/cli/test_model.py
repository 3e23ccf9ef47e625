"""`millrace model`: what it shows is what was learnt, and what it decides every shard does."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from flows.cli import model_screen
from flows.learn import Learning
from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.churn import FEATURES
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.models.trainers import other_trainers
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.state import ShardState
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import scorers, sender
from schemas.config import Config, Keys, Recommendation, Redis, Secret, Shards, Touch
from schemas.errors import Unusable
from schemas.records.customer_profile import Head
from schemas.records.shard_log import LogKind
from state.model_store import RedisModels, Signer
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from tests.flows.test_learn_actions import RULES
from tests.flows.test_learn_actions import lanes as touches
from tests.key_files import load_keys
from tests.learning import SHARDS, World, drain, lanes


class Site:
    """A deployment whose churn model has learnt three versions."""

    def __init__(self, url: str, folder: Path, client: Any) -> None:
        self.config = Config(
            name="test",
            redis=Redis(url=Secret(url), prefix="test"),
            keys=Keys(path=str(folder / "keys.json")),
            shards=Shards(count=SHARDS),
        )
        self.signer = Signer(load_keys(folder / "keys.json", create=True).sign)
        names = Names("test")
        self.directory = Deployment(self.config).directory
        shards, outbox = RedisShards(client, names, SHARDS, 16), RedisOutbox(client, names, SHARDS)
        self.world = World(shards, outbox, self.directory, RedisModels(client, names, self.signer))
        self.learn(1_100, 42)

    def learn(self, count: int, until: int) -> None:
        self.world.fill(lanes(count), end=until)
        drain(
            Learning(
                BinaryTrainer("churn", FEATURES, 0.05),
                self.world.outbox,
                self.directory,
                self.world.store,
                self.signer,
                SHARDS,
                [sender("churn")],
            )
        )

    def teach(self, config: Config, name: str, count: int, until: int) -> None:
        """The same for what gives no probability."""
        self.world.fill(touches(name, count, seed=until), end=until)
        (trainer,) = (trainer for trainer in other_trainers(config) if trainer.name == name)
        drain(
            Learning(
                trainer,
                self.world.outbox,
                self.directory,
                self.world.store,
                self.signer,
                SHARDS,
                [sender(name)],
            )
        )

    def in_force(self, name: str = "churn") -> int:
        """The version that a shard uses, when it has read all of its log."""
        no_rules = lambda _: pytest.fail("no rules are announced")  # noqa: E731
        machine = ShardMachine(no_rules, scorers(self.directory, self.signer))
        state = ShardState(0, Head(), {})
        entries = self.directory.read({0: 0}, 1_000, 0)
        machine.apply(state, (entry for entry in entries if entry.kind == LogKind.MODEL))
        again = ShardState(0, state.head, {})
        machine.open(again)
        assert used(again, name) == used(state, name)
        return used(state, name)


def used(state: ShardState, name: str) -> int:
    learnt = {
        best_action.NAME: state.learnt.decider,
        recommendation_index.NAME: state.learnt.recommendations,
        cluster_assigner.NAME: state.learnt.assigner,
    }
    if name not in learnt:
        return state.scorers.version(name)
    served = learnt[name]
    return 0 if served is None else served.version


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Any:
    with redis.Redis.from_url(redis_url) as client:
        yield Site(redis_url, tmp_path, client)


def test_list_and_show_say_what_was_learnt(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert model_screen.listing(site.config, as_json=True) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert (row["name"], row["version"], row["examples"], row["champion"]) == ("churn", 3, 1_100, "newton")
    assert row["figures"]["auc"] > 0.6
    assert set(row["contest"]) == {"newton", "adagrad"}
    assert model_screen.show(site.config, "churn", as_json=True) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [version["version"] for version in shown["versions"]] == [3, 2, 1]
    assert (
        model_screen.listing(site.config, as_json=False)
        == model_screen.show(site.config, "churn", as_json=False)
        == 0
    )
    said = capsys.readouterr().out
    assert "1,100" in said
    assert "version 2" in said


def test_what_is_decided_is_what_shards_score_with(site: Site) -> None:
    assert site.in_force() == 3
    model_screen.rollback(site.config, "churn", None)
    assert site.in_force() == 2
    site.learn(500, 43)
    assert site.in_force() == 4
    model_screen.pin(site.config, "churn", 1)
    site.learn(500, 44)
    assert site.in_force() == 1
    model_screen.unpin(site.config, "churn")
    assert site.in_force() == 5


@pytest.mark.parametrize("name", [best_action.NAME, recommendation_index.NAME, cluster_assigner.NAME])
def test_so_it_is_for_what_gives_no_probability(
    name: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = {
        field: getattr(RULES, field) for field in ("best_action", "action", "recommendation", "clusters")
    }
    config = msgspec.structs.replace(site.config, **rules)
    site.teach(config, name, 1_100, 43)
    last = site.in_force(name)
    assert last >= 2
    model_screen.rollback(config, name, None)
    assert site.in_force(name) == last - 1
    model_screen.pin(config, name, 1)
    site.teach(config, name, 1_100, 44)
    assert site.in_force(name) == 1
    model_screen.unpin(config, name)
    assert site.in_force(name) > last
    capsys.readouterr()
    model_screen.show(config, name, as_json=False)
    assert "version 1 " in capsys.readouterr().out
    model_screen.export(config, name, 1, tmp_path / "model.json")
    assert msgspec.json.decode((tmp_path / "model.json").read_bytes())["version"] == 1
    model_screen.show(config, name, as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["versions"][-1]["version"] == 1


def test_a_pin_of_another_key_is_refused(site: Site) -> None:
    body = site.directory.body(LogKind.MODEL, "learn:churn", 1)
    assert body is not None
    assert site.directory.announce(
        LogKind.MODEL, "pin:churn", 1, 1, body
    )  # what was learnt, said again as a pin
    assert site.in_force() == 3


def test_a_champion_by_hand(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    model_screen.promote(site.config, "churn", "adagrad")
    site.learn(50, 43)
    model_screen.listing(site.config, as_json=True)
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert (row["champion"], row["promotions"], row["version"]) == ("adagrad", 1, 4)


def test_a_recommender_by_hand_and_back(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = msgspec.structs.replace(
        site.config, recommendation=Recommendation(touch=(Touch(event="Viewed"),))
    )
    world = site.world
    for at, learner in enumerate(("item_to_item", "biased_mf", "item_to_item")):
        if at:
            model_screen.promote(config, recommendation_index.NAME, learner)
        world.fill(touches(recommendation_index.NAME, 300, seed=at), end=43 + at)
        drain(
            Learning(
                RecommendationTrainer(config),
                world.outbox,
                site.directory,
                world.store,
                site.signer,
                SHARDS,
                [sender(recommendation_index.NAME)],
            )
        )
        capsys.readouterr()
        model_screen.show(config, recommendation_index.NAME, as_json=False)
        model_screen.report(config, recommendation_index.NAME, tmp_path / "model.html")
        said, page = capsys.readouterr().out, (tmp_path / "model.html").read_text()
        assert f"champion {learner}, promoted {at} times" in said
        assert f"champion {learner}, promoted {at} times" in page
        assert f"<tr class=own><td>{learner}</td>" in page
        version = site.directory.sent(sender(recommendation_index.NAME))
        served = scorers(site.directory, site.signer)(sender(recommendation_index.NAME), version)
        assert isinstance(served, recommendation_index.RecommendationIndex)
        assert served.snapshot.learner == learner


def test_export_is_plain_json(site: Site, tmp_path: Path) -> None:
    model_screen.export(site.config, "churn", 2, tmp_path / "model.json")
    exported = msgspec.json.decode((tmp_path / "model.json").read_bytes())
    assert (exported["version"], len(exported["weights"])) == (2, len(FEATURES))


def test_the_report_stands_alone(site: Site, tmp_path: Path) -> None:
    model_screen.report(site.config, "churn", tmp_path / "model.html")
    page = (tmp_path / "model.html").read_text()
    assert page.count("<figure>") == 3
    assert "1,100 examples" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_what_there_is_not(site: Site) -> None:
    with pytest.raises(Unusable, match="no model deal"):
        model_screen.show(site.config, "deal", as_json=False)
    with pytest.raises(Unusable, match="no version 9"):
        model_screen.pin(site.config, "churn", 9)
    with pytest.raises(Unusable, match="no learner"):
        model_screen.promote(site.config, "churn", "forest")
