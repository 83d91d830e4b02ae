"""Classification in an export: the scores of the classes."""

from nommer.models.classification import Classifier
from nommer.models.exported_networks import OUTPUT
from nommer.tasks.exporting import ImageSize, Quantising, ScoresExport
from nommer.tasks.whole import WholeExport


class ClassificationExport(ScoresExport):
    """One score per class."""

    outputs = (OUTPUT,)
    parity_images = 32
    batches = (1, 2, 5, 16)
    quantising = Quantising(measure="top1", calibration_images=128, agreement_images=256, batch=16)

    @property
    def whole(self) -> WholeExport:
        """Return the parts around the network."""
        from nommer.tasks.classification.whole import WholeClassification  # noqa: PLC0415 - which imports this

        return WholeClassification()

    def left_out(self, model: Classifier, size: ImageSize) -> tuple[str, ...]:
        """List the function from scores to probabilities."""
        return (f"the {'softmax' if model.threshold is None else 'sigmoid'} of the scores",)
