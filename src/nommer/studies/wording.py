"""Texts of the report of a study, for somebody who has not read the paper."""

from collections.abc import Sequence

from nommer.backbone.contexts import CONTEXTS

_CONTEXTS = {
    "convolution": "`convolution` sees the nearest tokens",
    "window": "`window` compares the tokens of one window with each other",
    "global": "`global` sees the whole image, coarsely",
}
_NUMBERS = {2: "two", 3: "three"}
_FUSIONS = {
    "nomination": "the token takes the one with the highest score: it nominates it",
    "softmax": "the token takes all of them, mixed by the softmax of the scores; the one with the "
    "largest part counts here as nominated",
}

_INTRODUCTION = """\
The network looks at an image as a grid of tokens, small squares of pixels. In its first two
stages every token may learn from its surroundings in {number} ways, called contexts:
{contexts}. A small part of every block, the nominator, gives each context a score, and
{fusion}. This page shows what the model nominates on this data set, where, and whether that
matters for its answers.

Shares are of all tokens or pixels together, whatever image they are from. The lines through the
marks, and the brackets in the tables, are 95 % intervals: the images were drawn again, with
replacement, {resamples} times (seed {seed}), and 95 % of the values so found lie between the
ends."""


def introduction(*, contexts: Sequence[str], fusion: str, resamples: int, seed: int) -> str:
    """Introduce a study of a network with these two or three contexts and this fusion."""
    *first, last = (_CONTEXTS[name] for name in contexts)
    listed = f"{', '.join(first)}{',' if len(first) > 1 else ''} and {last}"
    return _INTRODUCTION.format(
        number=_NUMBERS[len(contexts)],
        contexts=listed,
        fusion=_FUSIONS[fusion],
        resamples=resamples,
        seed=seed,
    )


FACETS: dict[str, tuple[str, str]] = {
    "class": ("By class", "Do classes differ in what they need to see? {class_of}"),
    "part": ("Objects against background", "Pixels inside objects, and all others. {objects}"),
    "distance": (
        "By distance to a border",
        "How far a pixel is from the nearest border of {borders}, in tokens of the finest grid "
        "({token} pixels a side "
        "as the network sees the image). Images without any border are left out.",
    ),
    "size": (
        "By size",
        "Pixels of small ({what} of under 32 x 32 pixels of the file), medium (under 96 x 96) and "
        "large {what}.",
    ),
    "gradient": (
        "By texture: how lively",
        "Tokens in four quarters (as nearly as 128 bins allow), by the mean squared gradient of "
        "the brightness in the "
        "token's square: from smooth to lively. The ends of the quarters stand in `gradient.csv`.",
    ),
    "frequency": (
        "By texture: how fine",
        "Tokens in four quarters, by the share of the upper half of the frequencies (DCT of the "
        "token's square, of "
        "4 x 4 pixels at least) in its variation: from coarse to fine. Flat squares, without "
        "variation, stand apart.",
    ),
}

NAMES = {
    "class": "by class",
    "part": "objects against background",
    "distance": "by distance to a border",
    "size": "by size",
    "parts": "interventions in parts of the images",
    "epochs": "over the epochs of training",
    "between_blocks": "agreement between blocks",
    "sensitivity": "which nominations one decision hangs on",
    "curves": "deletion and insertion curves",
    "areas": "areas under these curves",
    "attributions": "standard attributions",
    "context_maps": "maps of the global context",
}
"""Names of tables and figures that may be absent."""


KIND_NAMES = {
    **{name: f"the {name} context" for name in CONTEXTS},
    "mean": "the mean of all contexts",
    "chance": "a context by chance",
}
KIND_NAMES |= {"second": "the second choice", "sampled": "drawn by the scores, as in training"}

SHARES = """\
A filled mark is the share of all tokens that nominate a context, a hollow one its mean
probability. How clear the choices are: `probability` is the softmax of the scores, its mean
over the tokens; `margin` how much more probable the nominated context is than the next one;
`entropy` is 1 where all contexts are alike probable, and 0 where one is certain."""

TOKENS = """\
For every context that some token of an image nominates, one token in the middle of the largest
area that does. In stages 1-2 it sees by the context that it nominates: the neighbours of a
`convolution`, its own `window` with the weights of attention, or for `global` the compressed
blocks of the whole image, each as strong as attention weighs it. In stages 3-4 it attends to
all tokens (the last block of each stage is shown), as does the class token, where the network
has one.

Which pixels can influence the token at all follows from the nominations of all blocks before
it, its own and those of the tokens that it sees: the coloured pixels are its receptive field
after each block; from all others nothing reaches it. How strongly those inside do is told by
the gradient. A token that nominates local contexts knows nothing of what is far away before
stage 3, unless one of the tokens that it sees nominated `global` in a block before: then its
field is the whole image too."""

AGREEMENT = """\
`agreement` is how often two tokens nominate the same context. Some of that is chance: where
nearly all tokens nominate one context, nearly all pairs agree. `by chance` is how often they
would agree if every token nominated by the shares of the whole data set. `kappa` (Cohen's) is
what is left: 1 for the same everywhere, 0 for chance. It has no value where all tokens nominate
the same."""

_EFFECTS = """\
The same model evaluated on {images_judged} of the images (drawn with seed {seed}), again and
again: each time one block, or all blocks, nominate something else than their scores say. One
context everywhere; the `mean` of all contexts; a context by `chance`; or the `second` choice of
every token. {mixed}If a change does next to nothing, then on these images and by this measure
it mattered little what was nominated there; other images, or another measure, may tell
otherwise. The measure is {measure_name}.{parts}

Brackets are 95 % intervals over images once more: what is found on {resamples} data sets of
images drawn from these with replacement (mIoU from their pixels added up, average precision by
COCO's evaluator from its matches), and of a change, what is found on the same drawn images
before and after. They say nothing of other trainings, and of few images little: of rare classes
and large objects there may be none among those drawn."""

_PARTS = """ In the rows that name {first} or {second}, only tokens whose centre lies there
nominate otherwise, in all blocks{near}; `share of pixels` says how much of the images that is.
Where a part lies is known from the truth, which no model is told: if less is lost there than
everywhere, or something is gained, nothing says that it could be had."""

_NEAR = ", and near is under two tokens of the finest grid"

_MIXED = """\
This network mixes its contexts; a single context, also the one with the largest part, takes the
mixture away too. """


def effects(
    *,
    fusion: str,
    images_judged: int,
    seed: int,
    measure_name: str,
    parts: Sequence[str],
    resamples: int,
) -> str:
    """Explain the interventions and their numbers; `parts` are the two of images, or none."""
    mixed, told = _MIXED if fusion == "softmax" else "", ""
    if parts:
        near = _NEAR if parts[0].startswith("near") else ""
        told = _PARTS.format(first=parts[0], second=parts[-1], near=near)
    return _EFFECTS.format(
        mixed=mixed,
        parts=told,
        images_judged=images_judged,
        seed=seed,
        measure_name=measure_name,
        resamples=resamples,
    )


DECISIONS = """\
For every cell of an 8 x 8 grid, the tokens in it, in all blocks, nominate their second choice,
and the others what they did: how much less probable is the answer of the model then? In a block
of fewer tokens than cells, as small images have, it is the one token that the cell lies in,
which several cells share; the map is coarser there."""

CURVES = """\
Cells of an 8 x 8 grid are deleted (become the mean colour) in the order of a map, the cells
first that the map says matter most. If it is right, the probability of the answer falls soon: a
small area under the curve. Or they are inserted into the blurred image: it rises soon, a large
area. The orders are by maps of nominations, by standard attributions (Captum: integrated
gradients, gradient), and random; all maps are averaged over the same cells, on {images} images."""
