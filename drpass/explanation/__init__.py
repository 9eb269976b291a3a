"""What one node of a model does, why, and what would change it."""

from drpass.explanation.explain import explain
from drpass.explanation.explanation import Explanation

__all__ = ["Explanation", "explain"]
