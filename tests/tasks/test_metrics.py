"""The numbers of a evaluation, against scikit-learn and against a literal loop."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from nommer.data.masks import IGNORE
from nommer.tasks.classification.metrics import CALIBRATION_BINS, ClassificationMetrics
from nommer.tasks.segmentation.metrics import SegmentationMetrics


def evaluate(logits, labels, *, batches=3):
    metrics = ClassificationMetrics(logits.shape[1])
    for scores, targets in zip(logits.chunk(batches), labels.chunk(batches), strict=True):
        metrics.update(scores, targets)
    return metrics.compute()


@pytest.fixture(params=[(9, 200), (6, 50), (3, 40)], ids=["9 classes", "6 classes", "3 classes"])
def answers(request):
    classes, images = request.param
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator) + 1.5 * torch.nn.functional.one_hot(
        labels, classes
    )
    return logits, labels


def test_equal_scikit_learns(answers):
    logits, labels = answers
    report = evaluate(logits, labels)
    probabilities, predicted, classes = (
        logits.softmax(-1).numpy(),
        logits.argmax(-1).numpy(),
        range(logits.shape[1]),
    )
    assert report.images == len(labels)
    assert report.top1 == pytest.approx(sk.accuracy_score(labels, predicted), abs=1e-6)
    assert report.mean_class_accuracy == pytest.approx(
        sk.balanced_accuracy_score(labels, predicted), abs=1e-6
    )
    assert report.macro_f1 == pytest.approx(
        sk.f1_score(labels, predicted, average="macro"), abs=1e-6
    )
    assert (
        report.confusion.tolist() == sk.confusion_matrix(labels, predicted, labels=classes).tolist()
    )
    assert report.loss == pytest.approx(
        sk.log_loss(labels, probabilities, labels=classes), rel=1e-5
    )
    if len(classes) > 5:
        assert report.top5 == pytest.approx(
            sk.top_k_accuracy_score(labels, probabilities, k=5, labels=classes)
        )
    else:
        assert report.top5 is None


def calibration_error(probabilities, labels):
    """The gap between confidence and accuracy per bin, weighted by the images in it."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for index in range(CALIBRATION_BINS):
        low, high = index / CALIBRATION_BINS, (index + 1) / CALIBRATION_BINS
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return error


def test_calibration_equals_a_literal_loop(answers):
    logits, labels = answers
    literal = calibration_error(logits.double().softmax(-1).numpy(), labels.numpy())
    assert evaluate(logits, labels).calibration_error == pytest.approx(literal, abs=1e-5)


def test_do_not_depend_on_the_batches(answers):
    reports = [evaluate(*answers, batches=batches).summary() for batches in (1, 4, 7)]
    for report in reports[1:]:
        assert report == pytest.approx(reports[0], abs=1e-6)


def test_per_class_rows_equal_scikit_learns(answers):
    logits, labels = answers
    predicted, names = (
        logits.argmax(-1).numpy(),
        tuple(f"class {i}" for i in range(logits.shape[1])),
    )
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=range(len(names))
    )
    rows = evaluate(logits, labels).per_class(names)
    assert [row["class"] for row in rows] == list(names)
    assert [row["images"] for row in rows] == support.tolist()
    assert [row["predicted"] for row in rows] == np.bincount(
        predicted, minlength=len(names)
    ).tolist()
    for name, expected in (("recall", recall), ("precision", precision), ("f1", f1)):
        assert [row[name] for row in rows] == pytest.approx(expected.tolist())


def test_classes_that_do_not_occur_have_no_numbers_and_count_nowhere():
    labels = torch.tensor([0, 0, 1, 1])
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 1]), 4)
    report = evaluate(logits, labels)
    rows = report.per_class(("a", "b", "c", "d"))
    assert [row["recall"] for row in rows] == [0.5, 1.0, None, None]
    assert [row["precision"] for row in rows] == [1.0, 1.0, 0.0, None]
    assert [row["f1"] for row in rows] == [pytest.approx(2 / 3), 1.0, 0.0, None]
    assert [row["most_confused_with"] for row in rows] == ["c", None, None, None]
    assert report.mean_class_accuracy == pytest.approx(0.75), "over the classes that occur"
    assert report.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3), "and those that are predicted"


def test_start_anew_after_a_reset(answers):
    metrics = ClassificationMetrics(answers[0].shape[1])
    metrics.update(*answers)
    first = metrics.compute()
    metrics.reset()
    metrics.update(*answers)
    assert metrics.compute().summary() == first.summary()


def test_half_precision_is_evaluated_in_full():
    logits = torch.tensor([[10.0, 10.01, 0, 0, 0, 0], [5.0, 0, 0, 0, 0, 0]])
    report = evaluate(logits.to(torch.bfloat16), torch.tensor([0, 0]), batches=1)
    assert report.loss == pytest.approx(
        evaluate(logits.bfloat16().float(), torch.tensor([0, 0]), batches=1).loss
    )


def literal_segmentation(labels, truths, classes):
    """IoU, recall and accuracy by counting pixels with Python's loops."""
    hits, predicted, true = [0] * classes, [0] * classes, [0] * classes
    for image, truth in zip(labels, truths, strict=True):
        for found, expected in zip(image.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if expected != IGNORE:
                hits[expected] += found == expected
                predicted[found] += 1
                true[expected] += 1
    ious = [h / (p + t - h) for h, p, t in zip(hits, predicted, true, strict=True) if p + t]
    recalls = [h / t for h, t in zip(hits, true, strict=True) if t]
    return sum(ious) / len(ious), sum(recalls) / len(recalls), sum(hits) / sum(true)


class TestSegmentation:
    @pytest.fixture
    def scenes(self):
        """Logits and truth of images of several sizes.

        Class 3 is only predicted, class 4 does not occur.
        """
        generator = torch.Generator().manual_seed(0)
        truths, logits = [], []
        for size in ((7, 5), (4, 9), (6, 6)):
            truth = torch.randint(3, size, generator=generator)
            truth[torch.rand(size, generator=generator) < 0.2] = IGNORE
            scores = torch.randn(5, *size, generator=generator)
            scores[4] = -9
            truths.append(truth)
            logits.append(scores)
        return logits, truths

    def evaluate(self, logits, truths):
        metrics = SegmentationMetrics(5)
        for scores, truth in zip(logits, truths, strict=True):
            loss = torch.nn.functional.cross_entropy(
                scores[None], truth[None], ignore_index=IGNORE, reduction="sum"
            )
            metrics.update(scores.argmax(0), truth, loss)
        return metrics.compute()

    def test_equals_counting_pixel_by_pixel(self, scenes):
        logits, truths = scenes
        report = self.evaluate(logits, truths)
        expected = literal_segmentation([scores.argmax(0) for scores in logits], truths, 5)
        assert (report.miou, report.mean_accuracy, report.pixel_accuracy) == pytest.approx(
            expected, abs=1e-6
        )
        flat = [torch.cat([part.flatten(-2) for part in parts], -1) for parts in (logits, truths)]
        valid = flat[1] != IGNORE
        nll = torch.nn.functional.cross_entropy(flat[0][:, valid].T, flat[1][valid])
        assert report.loss == pytest.approx(nll.item(), rel=1e-5)
        assert (report.images, report.pixels) == (3, int(valid.sum()))

    def test_equals_scikit_learns(self, scenes):
        logits, truths = scenes
        truth, found = (
            torch.cat([part.flatten() for part in parts])
            for parts in (truths, [s.argmax(0) for s in logits])
        )
        valid = truth != IGNORE
        report = self.evaluate(logits, truths)
        assert (
            report.confusion.tolist()
            == sk.confusion_matrix(truth[valid], found[valid], labels=range(5)).tolist()
        )
        jaccard = sk.jaccard_score(truth[valid], found[valid], labels=range(4), average="macro")
        assert report.miou == pytest.approx(jaccard, abs=1e-6)

    def test_a_class_that_is_nowhere_has_no_number(self, scenes):
        rows = self.evaluate(*scenes).per_class(("a", "b", "c", "d", "e"))
        assert rows[4]["iou"] is rows[4]["recall"] is rows[4]["precision"] is None
        assert (rows[3]["pixels"], rows[3]["iou"], rows[3]["recall"]) == (0, 0.0, None)
        assert rows[3]["predicted"] > 0

    def test_does_not_depend_on_how_pixels_lie_in_images(self, scenes):
        logits, truths = scenes
        joined = (
            torch.cat([s.flatten(1) for s in logits], 1)[..., None],
            torch.cat([t.flatten() for t in truths])[:, None],
        )
        apart, together = self.evaluate(logits, truths), self.evaluate([joined[0]], [joined[1]])
        assert apart.confusion.equal(together.confusion)
        assert apart.loss == pytest.approx(together.loss, rel=1e-6)

    def test_images_without_an_evaluated_pixel_change_nothing_but_their_number(self, scenes):
        logits, truths = scenes
        empty = torch.full((3, 3), IGNORE)
        report, more = (
            self.evaluate(logits, truths),
            self.evaluate([*logits, torch.zeros(5, 3, 3)], [*truths, empty]),
        )
        assert more.summary() == report.summary() | {"images": 4}
