"""Churn: whether this customer will show no activity within the horizon. What the model looks at is in
`features`."""

from flows.logic.models.features import serving

NAME = "churn"
FEATURES: tuple[str, ...] = serving("marketing")
