"""The largest batch that fits is found from a few small ones."""

import pytest
import torch

from nommer.errors import InputError
from nommer.training.batch_size import _resident_peak, free_memory, largest_fitting

MIB = 2**20


@pytest.mark.parametrize(
    ("limit", "largest", "expected"),
    [(1000, 10_000, 98), (1000, 64, 64), (100, 10_000, 8), (45, 10_000, 2), (1e9, 500, 500)],
)
def test_a_straight_line_is_followed_to_the_limit(limit, largest, expected):
    tried = []

    def measure(images):
        tried.append(images)
        return (20 + 10 * images) * MIB

    chosen, taken = largest_fitting(measure, limit=limit * MIB, largest=largest)
    assert chosen == expected
    assert taken == (20 + 10 * chosen) * MIB <= limit * MIB
    assert len(tried) <= 8
    assert max(tried) == max(chosen, 4, *tried[:-1])


def test_what_does_not_fit_after_all_is_made_smaller():
    """Memory that grows faster than the small batches tell, as a fragmented one does."""

    def measure(images):
        if images > 40:
            raise torch.OutOfMemoryError
        return 20 * MIB * images

    chosen, _ = largest_fitting(measure, limit=2000 * MIB, largest=1000)
    assert 30 <= chosen <= 40
    assert chosen % 2 == 0


def test_too_little_memory_is_refused():
    with pytest.raises(InputError, match="not even two images fit"):
        largest_fitting(lambda images: 100.0 * MIB * images, limit=150 * MIB, largest=64)


def test_the_memory_that_a_step_takes_is_measured():
    assert _resident_peak(lambda: torch.ones(16 * MIB)) > 60 * MIB  # 64 MiB of float32
    assert _resident_peak(lambda: None) < 8 * MIB, "what was taken before is forgotten"
    assert free_memory() > 0
