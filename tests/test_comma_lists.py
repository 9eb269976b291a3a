"""drpass/commands/comma_lists.py: options with commas in them."""

from __future__ import annotations

import pytest

from drpass.commands.comma_lists import names, numbers, whole_numbers
from drpass.errors import DrpassError


def test_names_lose_the_spaces_around_them_and_none_is_empty() -> None:
    assert names("Conv, Gemm,,") == ["Conv", "Gemm"]
    assert names("") == []


def test_numbers_that_are_none_are_refused_by_the_name_of_the_option() -> None:
    assert whole_numbers("--threads", "1, 2") == [1, 2]
    assert numbers("--mean", "1,.5") == [1, 0.5]
    with pytest.raises(DrpassError, match=r"--threads must be whole numbers .*'1,two'"):
        whole_numbers("--threads", "1,two")
    with pytest.raises(DrpassError, match=r"--mean must be numbers .*''"):
        numbers("--mean", "")
