"""The table of all binary models. They differ in their question and in what they may look at; features and
learning are shared.

A new one is its line here and its name in `Model` of `schemas.config`.
"""

from typing import Literal

import msgspec

from flows.logic.models.features import LATEST, NAMES, Purpose, serving

ModelName = Literal["churn", "purchase", "deal", "complaint", "fraud"]


class BinaryModel(msgspec.Struct, frozen=True):
    """One question that time answers with yes (1) or no (0)."""

    name: ModelName
    question: str
    purpose: Purpose
    features: tuple[str, ...]
    # until enough is confirmed it says how unusual these features are: see `anomaly`
    unsupervised: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        """The places of its features in `features.features`."""
        return tuple(map(NAMES.index, self.features))


def _model(
    name: ModelName, question: str, purpose: Purpose, unsupervised: tuple[str, ...] = ()
) -> BinaryModel:
    return BinaryModel(
        name=name, question=question, purpose=purpose, features=serving(purpose), unsupervised=unsupervised
    )


BINARY: dict[ModelName, BinaryModel] = {
    model.name: model
    for model in (
        _model("churn", "no activity within the horizon", "marketing"),
        _model("purchase", "a purchase within the horizon", "marketing"),
        _model("deal", "the opportunity is won, not lost", "sales"),
        _model("complaint", "a low rating or a ticket within the horizon", "service"),
        _model("fraud", "a chargeback or a confirmed fraud within the horizon", "security", LATEST),
    )
}
