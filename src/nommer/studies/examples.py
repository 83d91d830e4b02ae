"""Some images of a study, explained one by one, and what tokens of them see."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nommer.models.storage import Model
from nommer.nominations.attention_maps import ATTENTION, TokenView
from nommer.nominations.explanation import Explanation
from nommer.nominations.images import explain_images
from nommer.nominations.tokens import TokenExplanation
from nommer.studies.pattern import Rows

_EXAMPLES = 3
"""Images that are explained."""


def spread(total: int, most: int) -> list[int]:
    """At most so many numbers below `total`, as evenly as can be."""
    count = min(total, most)
    return [number * total // count for number in range(count)]


def explain_examples(model: Model, samples: Sequence[Any]) -> list[Explanation]:
    """Explain some of the samples, with a token for every context that is nominated."""
    found = []
    for index in spread(len(samples), _EXAMPLES):
        (explanation,) = explain_images(model, [samples[index].path])
        if isinstance(explanation, Explanation):
            (explanation,) = explain_images(
                model, [samples[index].path], tokens=explanation.typical_pixels()
            )
        if isinstance(explanation, Explanation):
            found.append(explanation)
    return found


def short_name(explanation: Explanation, root: str) -> str:
    """The image's path under the folder of the data, or else its name."""
    path = Path(explanation.prediction.source)
    return str(path.relative_to(root) if path.is_relative_to(root) else path.name)


def token_rows(explanations: Sequence[Explanation], root: str) -> Rows:
    """Return a row per token and block: what it sees, how much, and its receptive field."""
    return [
        {"file": short_name(explanation, root), **row}
        for explanation in explanations
        for token in explanation.tokens
        for row in _rows(token)
    ]


def _rows(token: TokenExplanation) -> Rows:
    described = token.to_dict()
    fields = described["receptive_field"]
    return [
        {
            **{
                "x": described["x"],
                "y": described["y"],
                "block": block["block"],
                "sees_by": block["sees_by"],
            },
            **{name: block.get(name) for name in _NUMBERS},
            **dict(zip(("left", "top", "right", "bottom"), block["box"], strict=True)),
            "receptive_field": fields.get(block["block"]),
        }
        for block in described["blocks"]
    ]


_NUMBERS = (
    "share",
    "tokens_seen",
    "largest_weight",
    "tokens_with_half_the_weight",
    "class_token_weight",
)


def shortened(explanation: Explanation) -> Explanation:
    """With the last block alone of every stage of attention, in what tokens see."""
    tokens = tuple(
        replace(token, views=_last_of_attention(token.views)) for token in explanation.tokens
    )
    return replace(
        explanation, tokens=tokens, class_token=tuple(_last_of_attention(explanation.class_token))
    )


def _last_of_attention(views: Sequence[TokenView]) -> list[TokenView]:
    last = {_stage(view): view for view in views}
    return [view for view in views if view.kind != ATTENTION or view is last[_stage(view)]]


def _stage(view: TokenView) -> str:
    return view.block.partition(" block ")[0]


def say_tokens(explanation: Explanation) -> str:
    """Describe the picture of an image's tokens."""
    return " ".join(_say(token) for token in explanation.tokens)


def _say(token: TokenExplanation) -> str:
    described = token.to_dict()
    seen = [
        f"{block['block']} by {block['sees_by']}, {block['tokens_seen']} tokens"
        + (
            f", half of the weight on {half}"
            if (half := block.get("tokens_with_half_the_weight"))
            else ""
        )
        for block in described["blocks"]
    ]
    fields = [f"{share:.1%} after {block}" for block, share in described["receptive_field"].items()]
    return (
        f"The token at x {described['x']}, y {described['y']} sees in {'; in '.join(seen)}. "
        f"Of the pixels {', '.join(fields)} can influence it."
    )
