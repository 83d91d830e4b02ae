"""The verbs: one typed function each, which the command line and the YAML recipes call with the
same names.
"""

from nommer.api.delivering import benchmark, export
from nommer.api.training import check, replay, train
from nommer.api.using import evaluate, explain, predict

__all__ = ["benchmark", "check", "evaluate", "explain", "export", "predict", "replay", "train"]
