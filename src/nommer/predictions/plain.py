"""Answers as plain values for JSON, with pixels where they are wanted."""

from base64 import b64encode
from io import BytesIO
from typing import Any

from nommer.predictions.answer import Answer
from nommer.predictions.classification import Classification
from nommer.predictions.detection import Detections
from nommer.predictions.drawing import class_colour
from nommer.predictions.segmentation import Segmentation


def as_plain(answer: Answer, *, top: int = 5, pixels: bool = False) -> dict[str, Any]:
    """Return an answer as plain values.

    With `pixels` each object has its mask as COCO's compressed run lengths, a segmentation has its
    labels as a PNG with a palette, in base64, and both have `colours`, RGB by class that occurs.

    Args:
        answer: to an image.
        top: classes named, of a classifier.
        pixels: tell masks and labels too.
    """
    if isinstance(answer, Classification):
        return answer.to_dict(top)
    told = answer.to_dict()
    if not pixels:
        return told
    if isinstance(answer, Detections):
        names = answer.class_names
        told["colours"] = {names[one]: class_colour(one) for one in sorted(set(answer.labels))}
        for found, mask in zip(told["objects"], answer.masks or (), strict=False):
            found["mask"] = {"size": list(answer.size), "counts": mask.decode("ascii")}
    if isinstance(answer, Segmentation):
        named = zip(answer.class_names, answer.colours, strict=True)
        told["colours"] = {name: colour for name, colour in named if name in told["shares"]}
        told["labels_png"] = _png(answer)
    return told


def _png(answer: Segmentation) -> str:
    content = BytesIO()
    answer.palette_image().save(content, "PNG")
    return b64encode(content.getvalue()).decode("ascii")
