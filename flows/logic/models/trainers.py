"""One trainer for each model of the configuration."""

from flows.logic.models.binary import BINARY
from flows.logic.models.trainer import Trainer
from schemas.config import Rules


def trainers(rules: Rules) -> list[Trainer]:
    """One trainer for each model that is configured, also for one that is not enabled: what was asked before
    is still answered, and must be taken."""
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
                unsupervised=known.unsupervised,
            )
        )
    return found
