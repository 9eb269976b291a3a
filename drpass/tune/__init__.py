"""Choose every layer's parameters by measurement, under a budget of accuracy."""

from drpass.tune.budget import Budget
from drpass.tune.metric import Metric
from drpass.tune.tuning import Tuned, Tuning

__all__ = ["Budget", "Metric", "Tuned", "Tuning"]
