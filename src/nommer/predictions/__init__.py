"""The models' answers: frozen results that can be shown, saved and turned into plain values."""

from nommer.predictions.classification import Classification
from nommer.predictions.detection import Detections
from nommer.predictions.drawing import class_colour
from nommer.predictions.failure import Failure
from nommer.predictions.parts import Parts
from nommer.predictions.segmentation import Segmentation, SegmentationSummary

__all__ = [
    "Classification",
    "Detections",
    "Failure",
    "Parts",
    "Segmentation",
    "SegmentationSummary",
    "class_colour",
]
