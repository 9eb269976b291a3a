"""Values of options with commas between them."""

from __future__ import annotations

from drpass.errors import DrpassError


def names(text: str) -> list[str]:
    """Without the spaces around them; none of an empty text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(option: str, text: str) -> list[int]:
    """One or more. Raises DrpassError that names the option."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise DrpassError(f"{option} must be whole numbers with commas between them, not {text!r}") from error


def numbers(option: str, text: str) -> list[float]:
    """One or more. Raises DrpassError that names the option."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DrpassError(f"{option} must be numbers with commas between them, not {text!r}") from error
