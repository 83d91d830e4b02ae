"""Multi-label classification: images in a table, with any number of classes each."""

from nommer.tasks.classification.data import ClassificationSource


class MultiLabelSource(ClassificationSource):
    """Images with any number of classes each; the samples say which."""
