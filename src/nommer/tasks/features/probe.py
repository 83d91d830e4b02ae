"""Probes of frozen features: how many images are known by their neighbours, or by a linear layer.

Sources: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"
(2018), for votes weighted by exp(cosine / temperature) with a temperature of 0.07; Caron et al.,
"Emerging Properties in Self-Supervised Vision Transformers" (DINO, 2021), for 20 neighbours.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07

_AT_ONCE = 1024
"""Images that are compared with all others at a time."""


def neighbours_accuracy(
    train: Tensor, train_labels: Tensor, val: Tensor, val_labels: Tensor, *, neighbours: int
) -> float:
    """Return the share of images, from 0 to 1, whose class most of their neighbours vote for.

    Args:
        train: features of the images that vote, (N, features).
        train_labels: their classes, (N,) int64.
        val: features of the images that are asked about.
        val_labels: their classes.
        neighbours: nearest images of `train`, by cosine, that vote.
    """
    known, asked = (F.normalize(features.float(), dim=-1) for features in (train, val))
    classes, right = int(train_labels.max()) + 1, 0
    for start in range(0, len(asked), _AT_ONCE):
        part, labels = (all_of[start : start + _AT_ONCE] for all_of in (asked, val_labels))
        nearest, places = (part @ known.T).topk(min(neighbours, len(known)))
        votes = torch.zeros(len(part), classes)
        votes.scatter_add_(1, train_labels[places], (nearest / TEMPERATURE).exp())
        right += int((votes.argmax(1) == labels).sum())
    return right / len(asked)


def linear_accuracy(train: Tensor, train_labels: Tensor, val: Tensor, val_labels: Tensor) -> float:
    """Return the share of images that a logistic regression on standardised features knows."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - only where asked for

    mean, deviation = train.float().mean(0), train.float().std(0) + 1e-6
    known, asked = (((part.float() - mean) / deviation).numpy() for part in (train, val))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be a measure
        fitted = LogisticRegression(max_iter=200).fit(known, train_labels.numpy())
    return float(fitted.score(asked, val_labels.numpy()))
