"""How long a run may take is said in words."""

import pytest

from nommer.engine.training.time_limit import parse_duration
from nommer.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28_800), ("1d12h", 129_600), ("1.5h", 5400)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "8 h", "h", "8h!", "0s", "1:00:00", "-1h"])
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match=f"--time-limit '{text}' is no duration; give one such as 90s, 30m, 8h"):
        parse_duration(text)
