"""Churn: will this customer show no activity within the horizon? What the model looks at stands in
`features`."""

from flows.logic.models.features import serving

NAME = "churn"
FEATURES: tuple[str, ...] = serving("marketing")
