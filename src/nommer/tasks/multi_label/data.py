"""Multi-label classification: images of any number of classes, read as those of one."""

from nommer.tasks.classification.data import ClassificationSource


class MultiLabelSource(ClassificationSource):
    """Images with any number of classes each; the labels of the samples say that they have."""
