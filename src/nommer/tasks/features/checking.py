"""Images without labels in `nommer check`, which finds this task in no data."""

from nommer.tasks.classification.checking import ClassificationCheck


class ImitationCheck(ClassificationCheck):
    """An image has no class."""
