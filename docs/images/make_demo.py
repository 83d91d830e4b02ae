"""Puts two pictures of a finished demo side by side, for the README.

python docs/images/make_demo.py runs/demo docs/images/demo.png
"""

import sys
from pathlib import Path

from PIL import Image

HEIGHT, GAP, DIGIT = 560, 30, "0045"


def scaled(path: Path) -> Image.Image:
    """Return a picture at the common height."""
    picture = Image.open(path).convert("RGB")
    return picture.resize(
        (round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS
    )


def main() -> None:
    """Compose and save."""
    run, target = Path(sys.argv[1]) / "run", Path(sys.argv[2])
    left, right = scaled(run / "val_predictions.jpg"), scaled(run / "explain" / f"{DIGIT}.png")
    sheet = Image.new("RGB", (left.width + GAP + right.width, HEIGHT), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
