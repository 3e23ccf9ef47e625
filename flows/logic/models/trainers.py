"""One trainer for each model of the configuration."""

from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.cluster_trainer import ClusterTrainer
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.models.trainer import Trainer
from schemas.config import Rules


def trainers(rules: Rules) -> list[Trainer]:
    """Return one for each model that is configured."""
    return [*binary_trainers(rules), *other_trainers(rules)]


def binary_trainers(rules: Rules) -> list[BinaryTrainer]:
    """Return one for each binary model that is configured, also for one that is not enabled: what was asked
    before is still answered, and must be taken."""
    found = [BinaryTrainer("churn", BINARY["churn"].features, rules.churn.learning_rate)]
    for model in rules.model:
        known = BINARY[model.name]
        found.append(
            BinaryTrainer(
                known.name,
                known.features,
                model.learning_rate,
                positive_weight=model.positive_weight,
                forget_on_drift=model.on_drift == "forget",
                unsupervised=known.unsupervised,
            )
        )
    return found


def other_trainers(rules: Rules) -> list[Trainer]:
    """Return one for each of best action, recommendations and clusters that is configured."""
    found: list[Trainer] = []
    if rules.action:
        found.append(BestActionTrainer(rules))
    if rules.recommendation.touch:
        found.append(RecommendationTrainer(rules))
    if rules.clusters.enabled:
        found.append(ClusterTrainer(rules))
    return found
