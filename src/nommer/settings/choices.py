"""The words that settings of several verbs choose among."""

from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "32", "bf16", "16"]
"""Number format of the computation."""

CacheKind: TypeAlias = Literal["none", "ram", "disk"]
"""Place where decoded images are kept."""

SyncNorms: TypeAlias = Literal["auto", "on", "off"]
"""Batch norms over the batches of all processes."""

LoggerName: TypeAlias = Literal["wandb", "mlflow"]
"""Destinations of the numbers of a run besides `metrics.csv` and TensorBoard."""

SplitChoice: TypeAlias = Literal["auto", "train", "val", "test", "all"]
"""A part of labelled images."""

OnBadSample: TypeAlias = Literal["auto", "error", "skip"]
"""Treatment of images that cannot be read, in training."""

Channels: TypeAlias = Literal["rgb", "bgr"]
"""Order of the colours of arrays and tensors; OpenCV's is bgr."""

AsForm: TypeAlias = Literal["auto", "coco", "yolo", "voc", "folders", "table", "masks"]
"""Forms in which answers are written as labelled images."""
