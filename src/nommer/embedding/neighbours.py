"""Nearest neighbours of vectors, by cosine; what they say about labels, and near-duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from nommer.embedding.vectors import Vectors


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest of m vectors among n others."""

    indices: np.ndarray
    """(m, k) int64, the nearest first."""
    cosines: np.ndarray
    """(m, k) float64, from -1 to 1."""


def nearest(known: Vectors, asked: Vectors | None, count: int) -> Neighbours:
    """Return the nearest of `known` for each vector of `asked`.

    Args:
        known: the vectors that are searched.
        asked: None for each of `known` among the others.
        count: neighbours of each; fewer where there are fewer.
    """
    others = len(known.places) - (asked is None)
    search = NearestNeighbors(n_neighbors=max(1, min(count, others)), metric="cosine")
    search.fit(known.directions())
    if others < 1:
        empty = np.zeros((len(known.places) if asked is None else len(asked.places), 0))
        return Neighbours(empty.astype(np.int64), empty)
    distances, indices = search.kneighbors(None if asked is None else asked.directions())
    return Neighbours(indices, 1 - distances)


def knn_accuracy(vectors: Vectors, count: int) -> dict[str, float | int] | None:
    """Return how often the most frequent label of the neighbours is the vector's own.

    Of data with "train" and "val" that of the latter among the former, else of each among all
    others. Ties go to the label of the nearest. None where fewer than two labels are known.
    """
    labels = np.array([place.label for place in vectors.places])
    splits = np.array([place.split for place in vectors.places])
    if len(set(labels[labels != ""])) < 2:
        return None
    known, asked = (np.flatnonzero((splits == name) & (labels != "")) for name in ("train", "val"))
    if len(known) and len(asked):
        found = nearest(_take(vectors, known), _take(vectors, asked), count)
        right = _votes(labels[known][found.indices]) == labels[asked]
    else:
        asked = np.flatnonzero(labels != "")
        found = nearest(_take(vectors, asked), None, count)
        right = _votes(labels[asked][found.indices]) == labels[asked]
    return {"knn_accuracy": float(right.mean()), "knn_vectors": len(asked), "knn_k": count}


def _votes(labels: np.ndarray) -> np.ndarray:
    """(m,) the most frequent of (m, k) labels, of equally frequent ones the nearest."""
    best = []
    for row in labels:
        names, first, counts = np.unique(row, return_index=True, return_counts=True)
        best.append(names[np.lexsort((first, -counts))[0]])
    return np.array(best)


def _take(vectors: Vectors, chosen: np.ndarray) -> Vectors:
    return Vectors(vectors.values[chosen], tuple(vectors.places[index] for index in chosen))


@dataclass(frozen=True)
class NearDuplicate:
    """Two vectors that are nearly the same."""

    first: int
    second: int
    cosine: float


def near_duplicates(vectors: Vectors, least: float, most: int = 10) -> list[NearDuplicate]:
    """Return the pairs of a cosine of `least` or more, the most alike first.

    Args:
        vectors: of whole images.
        least: cosine from which two count.
        most: neighbours of each that are looked at, so that many equal images stay few pairs.
    """
    if len(vectors.places) < 2:
        return []
    found = nearest(vectors, None, most)
    pairs: dict[tuple[int, int], float] = {}
    for index, (others, cosines) in enumerate(zip(found.indices, found.cosines, strict=True)):
        for other, cosine in zip(others.tolist(), cosines.tolist(), strict=True):
            if cosine >= least:
                pairs[min(index, other), max(index, other)] = cosine
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [NearDuplicate(*pair, cosine) for pair, cosine in ranked]


def on_a_map(vectors: Vectors, method: str) -> np.ndarray:
    """Return (n, 2) places of the vectors' directions on a plane, by PCA or t-SNE."""
    directions = vectors.directions()
    if min(directions.shape) < 2:
        return np.zeros((len(directions), 2))
    if method == "pca" or len(directions) < 4:
        from sklearn.decomposition import PCA  # noqa: PLC0415 - one of two is needed

        return PCA(2, random_state=0).fit_transform(directions)
    from sklearn.manifold import TSNE  # noqa: PLC0415

    perplexity = min(30, (len(directions) - 1) / 3)
    return TSNE(2, metric="cosine", perplexity=perplexity, random_state=0).fit_transform(directions)


def names_of(vectors: Vectors) -> Sequence[str]:
    """Return the labels that occur, sorted; those of no label are ""."""
    return sorted({place.label for place in vectors.places})
