"""Tiny ImageNet's layout in miniature."""

import shutil

IDS = {
    "n01": "goldfish, Carassius auratus",
    "n02": "bullfrog",
    "n03": "tabby, tabby cat",
    "n04": "wok",
    "n05": "alp",
    "n06": "acorn",
}
"""WordNet ids of the classes, and their words."""


def write_tiny_imagenet(root, write_classes):
    """Write six classes of 6 training and 3 validation images, and return the folder."""
    write_classes(root / "train", dict.fromkeys(IDS, 6))
    write_classes(root / "made", dict.fromkeys(IDS, 3), seed=50)
    (root / "val" / "images").mkdir(parents=True)
    rows = []
    for image in sorted((root / "made").rglob("*.png")):
        rows.append(f"{image.name}\t{image.parent.name}\t0\t0\t9\t9\n")
        shutil.move(image, root / "val" / "images")
    shutil.rmtree(root / "made")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("\n".join(IDS))
    (root / "words.txt").write_text("".join(f"{wnid}\t{words}\n" for wnid, words in IDS.items()))
    return root
