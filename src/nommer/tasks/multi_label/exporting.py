"""Multi-label classification in an export."""

from nommer.tasks.classification.exporting import ClassificationExport
from nommer.tasks.exporting import Quantising


class MultiLabelExport(ClassificationExport):
    """One score per class, each for itself."""

    quantising = Quantising(
        measure="mean_ap", calibration_images=128, agreement_images=256, batch=16
    )
