"""Usual names of the folders of images and of masks, with the tools that write or expect them.

The names are lower case, for folders are matched in whatever case. Each comes from a tool's own
documentation:

- `images`, `annotations`: ADE20K's SceneParsing, scene_parsing/README.md; `images`, `labels`:
  Mapillary Vistas, Ultralytics; `images`, `masks`: Kaggle's Data Science Bowl, StarDist's examples;
- `img_dir`, `ann_dir`: MMSegmentation, "Tutorial 2: customize datasets";
- `imgs`, `masks`: milesial/Pytorch-UNet, README ("data/imgs", "data/masks");
- `image`, `label`: zhixuhao/unet, README (data/membrane/train/image and label);
- `img`, `mask` and `gt`: names that tutorials of salient objects and matting use;
- `jpegimages`, `segmentationclass`: Pascal VOC's development kit; `segmentationclassaug`: SBD as
  DeepLab's code takes it; `segmentationclasspng`: labelme2voc.py of labelme before version 4;
- `segmentationclasscontext`: Pascal-Context as MMSegmentation converts it;
- `1st_manual`: DRIVE, whose folder `mask` is the field of view;
- `pngimages`, `pedmasks`: Penn-Fudan, as torchvision's tutorial of detection takes it;
- `leftimg8bit`, `gtfine`, `gtcoarse`: cityscapesScripts, README;
- `data`, `labels`: FiftyOne, "Exporting FiftyOne Datasets".
"""

import re
from itertools import chain

from nommer.data.formats.labelled import SPLIT_FOLDERS, Split, split_of

IMAGE_FOLDERS = (
    "images",
    "jpegimages",
    "imgs",
    "image",
    "img",
    "img_dir",
    "pngimages",
    "leftimg8bit",
    "data",
)
"""Folders of images, those that are looked for first before others."""

MASK_FOLDERS = (
    "1st_manual",
    "masks",
    "segmentationclass",
    "segmentationclassaug",
    "segmentationclasspng",
    "segmentationclasscontext",
    "annotations",
    "labels",
    "mask",
    "label",
    "ann_dir",
    "annotation",
    "gt",
    "gts",
    "groundtruth",
    "ground_truth",
    "segmentation",
    "segmentations",
    "pedmasks",
)
"""Folders of masks, those that are looked for first before others."""

OTHER_FOLDERS = (
    "ann",
    "anns",
    "annots",
    "bboxes",
    "boxes",
    "gtcoarse",
    "gtfine",
    "imagesets",
    "img_data",
    "json",
    "obj_train_data",
    "obj_valid_data",
    "obj_test_data",
    "segmentationobject",
    "segmentationclassnpy",
    "segmentationclassvisualization",
    "xml",
    "xmls",
)
"""Folders that label tools write beside those, and that no class is called by."""

_SPLITS = "|".join(sorted(chain(*SPLIT_FOLDERS.values()), key=len, reverse=True))

_FILE_KINDS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp")

ALL_FOLDERS = frozenset((*IMAGE_FOLDERS, *MASK_FOLDERS, *OTHER_FOLDERS))


def kind_of(name: str) -> str:
    """Return the usual name that a folder has without a file kind, as `Labels_png` is `labels`."""
    words = re.split(r"[_\-. ]+", name.lower())
    return "_".join(words[:-1] if len(words) > 1 and words[-1] in _FILE_KINDS else words)


def split_and_kind(name: str) -> tuple[Split | None, str]:
    """Return the split that a word in a folder's name tells, and the rest of the name.

    `train_masks` are masks of "train"; `train` is images, and the rest is "".
    """
    words = kind_of(name).split("_")
    found = next((split for word in words if (split := split_of(word))), None)
    return found, "_".join(word for word in words if not split_of(word))


def split_and_rest(name: str) -> tuple[Split | None, str]:
    """Return the split that a folder's name begins or ends with, and the rest of the name.

    `trainA`, `A-train` and `train_01` are of "train"; `training_shoes` too, which alone says
    nothing.
    """
    plain = name.lower()
    for pattern in (rf"({_SPLITS})[_\-. ]*(.+)", rf"(.+?)[_\-. ]+({_SPLITS})\d*"):
        if found := re.fullmatch(pattern, plain):
            word, rest = found.groups() if split_of(found[1]) else found.groups()[::-1]
            return split_of(word), rest
    return None, plain
