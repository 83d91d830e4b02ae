"""Objects drawn into their image: boxes, masks, and a text beside each."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from nommer.fonts import lettering_for
from nommer.predictions.answer import Colour
from nommer.predictions.drawing import LARGEST, LETTERS, LINE, OPACITY, fitted

_MOST_TEXT = 0.12
"""Share of a picture that texts may cover: more would hide it, and are left out."""


def draw_objects(
    image: Image.Image,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray],
    texts: Sequence[str],
    colours: Sequence[Colour],
    *,
    kept: Sequence[str] = (),
    largest: int = LARGEST,
) -> Image.Image:
    """Return an RGB image with n objects drawn in, the first on top.

    Args:
        image: as large as the masks.
        boxes: (n, 4) left, upper, right and lower end in pixels.
        masks: n of (H, W) bool, or none.
        texts: beside the objects, in letters of which there are fonts.
        colours: one per object.
        kept: what is written of the texts where they would cover too much; by default nothing.
        largest: longer side of the picture in pixels, at most.
    """
    shown = fitted(_tinted(image, masks, colours), largest)
    lettering = lettering_for(texts)
    draw, font = ImageDraw.Draw(shown), lettering.font(LETTERS)
    written = [lettering.shown(text) for text in texts]
    if LINE * sum(map(font.getlength, written)) > _MOST_TEXT * shown.width * shown.height:
        written = list(kept) or [""] * len(boxes)
    scales = np.array([shown.width / image.width, shown.height / image.height] * 2)
    for index in reversed(range(len(boxes))):
        box, text, colour = boxes[index] * scales, written[index], colours[index]
        draw.rectangle(box.tolist(), outline=colour, width=2)
        if not text:
            continue
        left = max(0, min(box[0], shown.width - font.getlength(text)))
        top = max(0, box[1] - LINE)
        draw.rectangle(draw.textbbox((left, top), text, font=font), fill=colour)
        draw.text((left, top), text, fill="black", font=font)
    return shown


def _tinted(
    image: Image.Image, masks: Sequence[np.ndarray], colours: Sequence[Colour]
) -> Image.Image:
    """Return the image with each mask in its colour, half transparent."""
    if not masks:
        return image
    pixels = np.asarray(image)
    tinted = pixels.copy()
    for inside, colour in reversed(list(zip(masks, colours, strict=True))):
        tinted[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * np.array(colour)
    return Image.fromarray(tinted)
