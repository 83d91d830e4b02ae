"""Images unlike those that a classifier learned, by features of its network too."""

from dataclasses import replace

import pytest
import torch

from nommer import InputError
from nommer.models.decisions import Decisions
from nommer.models.ensembles import ensemble_of
from nommer.models.familiarity import (
    NUM_STATISTICS,
    Familiarity,
    appearance,
    scores_and_features,
    statistics,
)
from tests.models.test_ensembles import NAMES


@pytest.fixture
def seen():
    return torch.randn(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def knowing(tiny_classifier, seen):
    """A classifier that refuses what is unlike `seen`, by the pixels and by features."""
    model = tiny_classifier()
    with torch.no_grad():
        known = appearance(seen, scores_and_features(model.network, seen)[1])
    model.decisions = Decisions(familiarity=Familiarity.fit(known, rate=0.05), images=40)
    return model


def test_scores_are_those_of_the_network_and_features_means_of_its_second_stage(knowing, seen):
    with torch.no_grad():
        scores, features = scores_and_features(knowing.network, seen)
        assert torch.equal(scores, knowing(seen))
        maps = knowing.network.forward_intermediates(seen, indices=[1], intermediates_only=True)
    assert torch.allclose(features, maps[0].mean((2, 3)), atol=1e-6)
    knowing.network.forward = knowing.network.forward  # as `compile_inference` sets it
    with torch.no_grad():
        again = scores_and_features(knowing.network, seen)
    assert all(map(torch.equal, again, (scores, features)))


def test_an_image_far_away_in_features_alone_is_refused(knowing, seen):
    assert knowing.decisions.familiarity.uses_features
    _, refused = knowing.scored(seen, refuse=True)
    assert refused.double().mean() < 0.2
    moved = statistics(seen)
    with torch.no_grad():
        features = scores_and_features(knowing.network, seen)[1] + 3
    assert knowing.decisions.familiarity.refused(appearance(seen, features)).all()
    assert knowing.scored(seen, refuse=False)[1] is None
    assert moved.shape[1] == NUM_STATISTICS


def test_a_description_holds_the_lower_triangle_and_older_ones_load(knowing):
    known = knowing.decisions.familiarity
    assert [len(row) for row in known.whitening] == list(range(1, len(known.mean) + 1))
    square = known.to_dict() | {"whitening": known.whitening_matrix().tolist()}
    assert Familiarity.of(known.to_dict()) == Familiarity.of(square) == known
    with pytest.raises(ValueError, match="a row of whitening for each"):
        Familiarity.of(square | {"whitening": square["whitening"][1:]})


def test_most_members_of_an_ensemble_refuse(knowing, tiny_classifier, seen):
    never, ignorant = tiny_classifier(), tiny_classifier()
    known = knowing.decisions.familiarity
    always = tiny_classifier()
    always.decisions = Decisions(familiarity=replace(known, limit=0.0))
    never.decisions = Decisions(familiarity=replace(known, limit=1e9))
    for members, expected in (
        ([always, always, never], True),
        ([always, never, ignorant], False),
    ):
        _, refused = ensemble_of(members, NAMES).scored(seen, refuse=True)
        assert refused.tolist() == [expected] * len(seen)
    assert ensemble_of([ignorant] * 3, NAMES).scored(seen, refuse=True)[1] is None


def test_a_network_without_such_features_says_so(knowing, seen, monkeypatch):
    monkeypatch.setattr(
        "nommer.models.classification.scores_and_features", lambda n, images: (n(images), None)
    )
    with pytest.raises(InputError, match="its network does not tell; export it again"):
        knowing.scored(seen, refuse=True)
