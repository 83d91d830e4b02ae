"""The models' answers: frozen results that can be shown, saved and turned into plain values."""

from nommer.predictions.answer import Answer, Moment, to_pandas, with_moment, with_picture
from nommer.predictions.classification import Classification
from nommer.predictions.detection import Detections
from nommer.predictions.drawing import class_colour
from nommer.predictions.failure import Failure
from nommer.predictions.parts import Parts
from nommer.predictions.picture import Picture
from nommer.predictions.segmentation import Segmentation, SegmentationSummary

__all__ = [
    "Answer",
    "Classification",
    "Detections",
    "Failure",
    "Moment",
    "Parts",
    "Picture",
    "Segmentation",
    "SegmentationSummary",
    "class_colour",
    "to_pandas",
    "with_moment",
    "with_picture",
]
