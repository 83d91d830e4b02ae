"""Answers as plain values for JSON: as `nommer predict` writes them, with pixels where asked."""

from base64 import b64encode
from io import BytesIO
from typing import Any

from nommer.predictions import Classification, Detections, Segmentation
from nommer.serving.model import Answer, Options


def as_dict(answer: Answer, options: Options) -> dict[str, Any]:
    """Return an answer as plain values.

    With `pixels` each object has its mask as COCO's compressed run lengths, and a segmentation has
    its labels as a PNG with a palette, in base64.
    """
    if isinstance(answer, Classification):
        return answer.to_dict(options.top or 5)
    told = answer.to_dict()
    if isinstance(answer, Detections) and options.pixels and answer.masks is not None:
        for found, mask in zip(told["objects"], answer.masks, strict=True):
            found["mask"] = {"size": list(answer.size), "counts": mask.decode("ascii")}
    if isinstance(answer, Segmentation) and options.pixels:
        told["labels_png"] = _png(answer)
    return told


def _png(answer: Segmentation) -> str:
    content = BytesIO()
    answer.palette_image().save(content, "PNG")
    return b64encode(content.getvalue()).decode("ascii")
