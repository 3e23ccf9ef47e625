"""The table of all binary models. They differ in their question and in what they may look at; features and learning are shared.

A new one is its line here, a block in the configuration, and its question and answer in the shard.
"""

from typing import Literal

import msgspec

from flows.logic.models.features import NAMES, Purpose, serving
from flows.logic.models.trainer import Trainer
from schemas.config import Rules

ModelName = Literal["churn", "purchase", "deal", "complaint", "fraud"]


class BinaryModel(msgspec.Struct, frozen=True):
    """One question that time answers with yes (1) or no (0)."""

    name: ModelName
    question: str
    purpose: Purpose
    features: tuple[str, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Where its features stand in `features.features`."""
        return tuple(map(NAMES.index, self.features))


def _model(name: ModelName, question: str, purpose: Purpose) -> BinaryModel:
    return BinaryModel(name, question, purpose, serving(purpose))


BINARY: dict[ModelName, BinaryModel] = {
    model.name: model
    for model in (
        _model("churn", "no activity within the horizon", "marketing"),
        _model("purchase", "a purchase within the horizon", "marketing"),
        _model("deal", "the opportunity is won, not lost", "sales"),
        _model("complaint", "a low rating or a ticket within the horizon", "service"),
        _model("fraud", "a chargeback or a confirmed fraud within the horizon", "security"),
    )
}


def trainers(rules: Rules) -> list[Trainer]:
    """One trainer for each model that is configured, also for one that is not enabled: what was asked before is still
    answered, and must be taken."""
    found = [Trainer("churn", BINARY["churn"].features, rules.churn.learning_rate)]
    for model in rules.model:
        known = BINARY[model.name]
        found.append(
            Trainer(
                known.name,
                known.features,
                model.learning_rate,
                positive_weight=model.positive_weight,
                forget_on_drift=model.on_drift == "forget",
            )
        )
    return found
