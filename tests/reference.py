"""The network written again, slowly and literally, from the paper's equations.

What the fast modules are compared with.

Plain torch in float64, loops and explicit sums, nothing of `nommer`. `weights` are a module's
parameters and buffers by name. A token grid is (B, rows, columns, width); the reference never works
on a padded grid where it can be avoided.
"""

import math

import torch


def part(weights, name):
    """The weights below `name`, by the rest of their names."""
    return {
        key[len(name) + 1 :]: value for key, value in weights.items() if key.startswith(f"{name}.")
    }


# ---- elementary


def linear(x, weights):
    out = torch.einsum("...i,oi->...o", x, weights["weight"])
    return out + weights["bias"] if "bias" in weights else out


def layer_norm(x, weights):
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights["weight"]
        + weights["bias"]
    )


def batch_norm(grid, weights, *, training):
    mean, variance = weights["running_mean"], weights["running_var"]
    if training:
        values = grid.reshape(-1, grid.shape[-1])
        mean = values.sum(0) / len(values)
        variance = (values - mean).square().sum(0) / len(values)
    return (grid - mean) / (variance + 1e-5).sqrt() * weights["weight"] + weights["bias"]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def convolution_1x1(grid, weight, *, groups=1):
    """Grouped 1x1 convolution: output channels of a group see the input channels of that group."""
    outputs = []
    for x, kernel in zip(grid.chunk(groups, -1), weight.chunk(groups, 0), strict=True):
        outputs.append(torch.einsum("bhwi,oi->bhwo", x, kernel[:, :, 0, 0]))
    return torch.cat(outputs, -1)


def convolution_3x3(grid, weight, bias=None):
    """Sum of nine shifted products, zeros beyond the border."""
    _, rows, columns, _ = grid.shape
    framed = grid.new_zeros(len(grid), rows + 2, columns + 2, grid.shape[-1])
    framed[:, 1:-1, 1:-1] = grid
    out = 0 if bias is None else bias
    for y in range(3):
        for x in range(3):
            shifted = framed[:, y : y + rows, x : x + columns]
            out = out + torch.einsum("bhwi,oi->bhwo", shifted, weight[:, :, y, x])
    return out


# ---- attention


def attention(tokens, weights, *, heads, bias=None):
    """Self-attention of (N, width) tokens of one image or window.

    `bias[head]` (N, N) is added to the scaled scores.
    """
    width = tokens.shape[-1]
    head_dim = width // heads
    qkv = linear(tokens, part(weights, "qkv"))
    outputs = []
    for head in range(heads):
        query, key, value = (
            qkv[:, kind * width + head * head_dim : kind * width + (head + 1) * head_dim]
            for kind in range(3)
        )
        scores = query @ key.T * head_dim**-0.5
        if bias is not None:
            scores = scores + bias[head]
        exponentials = (scores - scores.max(-1, keepdim=True).values.detach()).exp()
        outputs.append(exponentials / exponentials.sum(-1, keepdim=True) @ value)
    return linear(torch.cat(outputs, -1), part(weights, "proj"))


def global_attention(x, weights, *, heads):
    """Every token of an image attends to all of them; `x` is a grid or a sequence."""
    images = [
        attention(image.reshape(-1, x.shape[-1]), weights, heads=heads).reshape(image.shape)
        for image in x
    ]
    return torch.stack(images)


def position_bias(positions, table, *, side):
    """Bias (heads, N, N) between tokens at `positions` (y, x) of a window.

    One row of the table per pair.
    """
    rows = [
        [(y1 - y2 + side - 1) * (2 * side - 1) + (x1 - x2 + side - 1) for y2, x2 in positions]
        for y1, x1 in positions
    ]
    return table[torch.tensor(rows)].permute(2, 0, 1)


def window_context(grid, weights, *, heads, side):
    """Attention among the real tokens of each window.

    A window at the border is smaller, nothing is padded.
    """
    batch, rows, columns, _ = grid.shape
    out = torch.zeros_like(grid)
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            positions = [
                (y, x)
                for y in range(side)
                for x in range(side)
                if top + y < rows and left + x < columns
            ]
            bias = position_bias(positions, weights["relative_position_bias_table"], side=side)
            ys, xs = (torch.tensor(axis) for axis in zip(*positions, strict=True))
            for image in range(batch):
                tokens = grid[image, top + ys, left + xs]
                out[image, top + ys, left + xs] = attention(
                    tokens, part(weights, "attention"), heads=heads, bias=bias
                )
    return out


# ---- the other contexts


def convolution_context(grid, weights, *, training):
    hidden = convolution_1x1(grid, weights["conv1.weight"])
    hidden = relu(batch_norm(hidden, part(weights, "norm1"), training=training))
    hidden = convolution_3x3(hidden, weights["conv2.weight"])
    hidden = relu(batch_norm(hidden, part(weights, "norm2"), training=training))
    hidden = convolution_1x1(hidden, weights["conv3.weight"])
    return relu(batch_norm(hidden, part(weights, "norm3"), training=training) + grid)


def cosines(v, u, j, i, k):
    """Return the weight of pixel (j, i) in coefficient (v, u) of a k x k block."""
    scale = [math.sqrt(0.5) if frequency == 0 else 1.0 for frequency in (v, u)]
    product = math.cos((2 * j + 1) * v * math.pi / (2 * k)) * math.cos(
        (2 * i + 1) * u * math.pi / (2 * k)
    )
    return 2 * scale[0] * scale[1] / k * product


def block_dct(grid, *, k, kept):
    """(B, rows, columns, c) to (B, rows / k, columns / k, c * kept^2), channels ordered (channel,
    v, u).
    """
    coefficients = []
    for v in range(kept):
        for u in range(kept):
            terms = [
                cosines(v, u, j, i, k) * grid[:, j::k, i::k] for j in range(k) for i in range(k)
            ]
            coefficients.append(torch.stack(terms).sum(0))
    return torch.stack(coefficients, -1).flatten(-2)


def inverse_block_dct(coefficients, *, k, kept):
    """(B, rows / k, columns / k, c * kept^2) back to (B, rows, columns, c)."""
    batch, rows, columns, channels = coefficients.shape
    frequencies = coefficients.reshape(batch, rows, columns, channels // kept**2, kept, kept)
    grid = coefficients.new_zeros(batch, rows * k, columns * k, channels // kept**2)
    for j in range(k):
        for i in range(k):
            terms = [
                cosines(v, u, j, i, k) * frequencies[..., v, u]
                for v in range(kept)
                for u in range(kept)
            ]
            grid[:, j::k, i::k] = torch.stack(terms).sum(0)
    return grid


def block_averages(grid, *, k, kept):
    """As `block_dct`: means of the kept x kept cells of a block, times the roots of their sizes."""
    means = []
    for cells in (cells_of(k, kept)[v][u] for v in range(kept) for u in range(kept)):
        mean = sum(grid[:, j::k, i::k] for j, i in cells) / len(cells)
        means.append(mean * math.sqrt(len(cells)))
    return torch.stack(means, -1).flatten(-2)


def inverse_block_averages(coefficients, *, k, kept):
    """Every position gets the mean of its cell."""
    batch, rows, columns, channels = coefficients.shape
    values = coefficients.reshape(batch, rows, columns, channels // kept**2, kept, kept)
    grid = coefficients.new_zeros(batch, rows * k, columns * k, channels // kept**2)
    for v in range(kept):
        for u in range(kept):
            for j, i in cells_of(k, kept)[v][u]:
                grid[:, j::k, i::k] = values[..., v, u] / math.sqrt(len(cells_of(k, kept)[v][u]))
    return grid


def cells_of(k, kept):
    """Positions (j, i) of every cell [v][u] when the k rows and columns of a block are dealt out to
    kept in order.
    """
    dealt = [[p for p in range(k) if math.floor(p * kept / k) == cell] for cell in range(kept)]
    return [
        [[(j, i) for j in dealt[v] for i in dealt[u]] for u in range(kept)] for v in range(kept)
    ]


COMPRESSIONS = {
    "dct": (block_dct, inverse_block_dct),
    "average": (block_averages, inverse_block_averages),
}


def spectral_context(grid, weights, *, heads, k, training, kept=None, compression="dct"):
    """A border that the blocks do not fill repeats the last row and column."""
    _, rows, columns, _ = grid.shape
    kept, (compress, expand) = kept or math.ceil(k / 2), COMPRESSIONS[compression]
    ys = [min(y, rows - 1) for y in range(math.ceil(rows / k) * k)]
    xs = [min(x, columns - 1) for x in range(math.ceil(columns / k) * k)]
    coefficients = compress(grid[:, ys][:, :, xs], k=k, kept=kept)
    blocks = convolution_1x1(coefficients, weights["compress.weight"], groups=8)
    blocks = batch_norm(blocks, part(weights, "norm"), training=training)
    blocks = global_attention(blocks, part(weights, "attention"), heads=heads)
    coefficients = convolution_1x1(blocks, weights["expand.weight"], groups=8)
    return expand(coefficients, k=k, kept=kept)[:, :rows, :columns]


# ---- nomination


def first_maximum(scores):
    """One-hot of the first maximum of the last dimension, found by going through it."""
    hard = torch.zeros_like(scores)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in scores.shape[:-1])):
        row = scores[tuple(index)].tolist()
        hard[(*index, row.index(max(row)))] = 1
    return hard


def nominate(contexts, weights, *, noise=None):
    """The nominated of the contexts per token; in training, with `noise`, straight-through."""
    logits = linear(sum(contexts), part(weights, "score"))
    if noise is None:
        chosen = first_maximum(logits)
    else:
        exponentials = (logits + noise).exp()
        soft = exponentials / exponentials.sum(-1, keepdim=True)
        chosen = first_maximum(soft.detach()) - soft.detach() + soft
    return sum(chosen[..., i : i + 1] * context for i, context in enumerate(contexts))


def mix(contexts, weights):
    """The mean of the contexts, weighed by the softmax of their scores."""
    exponentials = linear(sum(contexts), part(weights, "score")).exp()
    parts = exponentials / exponentials.sum(-1, keepdim=True)
    return sum(parts[..., i : i + 1] * context for i, context in enumerate(contexts))


def nominated_context(grid, weights, *, heads, side, k, training, noise=None, **ablation):
    """`ablation`: contexts, fusion, compression and kept, as published where they are not given."""
    compression = {
        name: value for name, value in ablation.items() if name in ("compression", "kept")
    }
    of_global = {"heads": heads, "k": k, "training": training} | compression
    every = {
        "convolution": lambda: convolution_context(
            grid, part(weights, "convolution"), training=training
        ),
        "window": lambda: window_context(grid, part(weights, "window"), heads=heads, side=side),
        "global": lambda: spectral_context(grid, part(weights, "spectral"), **of_global),
    }
    contexts = [every[name]() for name in ablation.get("contexts", every)]
    if ablation.get("fusion") == "sum" or len(contexts) == 1:
        return sum(contexts)
    if ablation.get("fusion") == "softmax":
        return mix(contexts, part(weights, "nominator"))
    return nominate(contexts, part(weights, "nominator"), noise=noise)


# ---- the whole


def stem(images, weights, *, stride, training):
    """A patch of stride x stride pixels makes a token.

    Pixels missing at the right and bottom count as zero.
    """
    batch, channels, height, width = images.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    filled = images.new_zeros(batch, channels, rows * stride, columns * stride)
    filled[:, :, :height, :width] = images
    patches = filled.reshape(batch, channels, rows, stride, columns, stride)
    tokens = torch.einsum("bchywx,ocyx->bhwo", patches, weights["conv.weight"])
    return relu(batch_norm(tokens, part(weights, "norm"), training=training))


def overlapping_stem(images, weights, *, stride, training):
    """3x3 convolutions, of whose tokens every other one stays, until `stride` is reached."""
    _, _, height, width = images.shape
    grid = images.new_zeros(
        len(images), -(-height // stride) * stride, -(-width // stride) * stride, images.shape[1]
    )
    grid[:, :height, :width] = images.permute(0, 2, 3, 1)
    step = min(stride, 2)
    for place in (0, 3) if stride == 4 else (0,):
        grid = convolution_3x3(grid, weights[f"steps.{place}.weight"])[:, ::step, ::step]
        grid = relu(batch_norm(grid, part(weights, f"steps.{place + 1}"), training=training))
    return grid


def downsample(grid, weights):
    """3x3 convolution, the maximum of every 2x2 (of what there is of it at an odd border), layer
    norm.
    """
    maps = convolution_3x3(grid, weights["conv.weight"], weights["conv.bias"])
    rows = [
        torch.stack(
            [maps[:, y : y + 2, x : x + 2].amax((1, 2)) for x in range(0, maps.shape[2], 2)], 1
        )
        for y in range(0, maps.shape[1], 2)
    ]
    return layer_norm(torch.stack(rows, 1), part(weights, "norm"))


def block(x, weights, mixer):
    """`mixer` maps the normalised tokens and its own weights to tokens."""
    x = x + mixer(layer_norm(x, part(weights, "norm1")), part(weights, "mixer"))
    hidden = gelu(linear(layer_norm(x, part(weights, "norm2")), part(weights, "mlp.fc1")))
    return x + linear(hidden, part(weights, "mlp.fc2"))


def network(
    images,
    weights,
    *,
    heads,
    side,
    block_sizes,
    depths,
    stride,
    training=False,
    noises=(),
    kept=None,
    **ablation,
):
    """Class scores; the position embedding must have the size of the images' stage-3 grid."""
    noises = iter(noises)
    x = stem(images, part(weights, "stem"), stride=stride, training=training)
    for stage in range(4):
        own = part(weights, f"stages.{stage}")
        if stage:
            x = downsample(x, part(own, "downsample"))
        if stage == 2:
            x = x + own["pos_embed"]
        if stage == 3:
            x = torch.cat([own["cls_token"].expand(len(x), 1, -1), x.flatten(1, 2)], 1)
        for index in range(depths[stage]):

            def mixer(x, weights, stage=stage):
                if stage >= 2:
                    return global_attention(x, weights, heads=heads[stage])
                settings = {
                    "heads": heads[stage],
                    "side": side,
                    "k": block_sizes[stage],
                    "training": training,
                }
                settings |= ablation | ({"kept": kept[stage]} if kept else {})
                return nominated_context(
                    x, weights, noise=next(noises, None) if training else None, **settings
                )

            x = block(x, part(own, f"blocks.{index}"), mixer)
    return linear(layer_norm(x, part(weights, "norm"))[:, 0], part(weights, "head"))
