"""What all tests share: settings, and fixtures of more than one file."""

from __future__ import annotations

import pytest
from hypothesis import settings
from large_models import LOW

from drpass import external_data

# A machine that does other work besides takes any time for an example, and that is no fault.
settings.register_profile("drpass", deadline=None)
settings.load_profile("drpass")


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are large from a few kilobytes on."""
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", LOW)
