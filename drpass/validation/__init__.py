"""Is the rewritten model as good as the original on real data?"""

from drpass.validation.classes import Accuracy, Agreement, Classification
from drpass.validation.compare import validate
from drpass.validation.errors import ErrorFigures, ErrorMeter
from drpass.validation.reference import Reference
from drpass.validation.report import LayerResult, OutputResult, Thresholds, ValidationReport

__all__ = [
    "Accuracy",
    "Agreement",
    "Classification",
    "ErrorFigures",
    "ErrorMeter",
    "LayerResult",
    "OutputResult",
    "Reference",
    "Thresholds",
    "ValidationReport",
    "validate",
]
