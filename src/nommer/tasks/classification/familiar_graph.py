"""`models.familiarity` as a graph: images that look otherwise than those that were learned."""

from nommer.models.exported_networks import FEATURES
from nommer.models.familiarity import DARK, FLAT, GREY, LEVELS, Familiarity
from nommer.models.whole_kinds import NONE_OF_THESE
from nommer.tasks.whole import double, doubles, ints


def unfamiliar(familiarity: Familiarity, side: int) -> str:
    """Return how far images, f_seen_pixels (batch, 3, side, side), are, and if that is too far.

    Where the distance is of features too, they are f_features (batch, width).
    """
    detailed, sides = "f_exact", side
    details = ""
    for level in range(LEVELS):
        details += _detail(detailed, f"f_half_{level}", f"f_fine_{level}", sides)
        detailed, sides = f"f_half_{level}", (sides + 1) // 2
    fine = ", ".join(f"f_fine_{level}_log" for level in range(LEVELS))
    count = len(familiarity.mean)
    whitening = familiarity.whitening_matrix().T.flatten().tolist()
    features = f", f_{FEATURES}_exact" if familiarity.uses_features else ""
    cast = f"    f_{FEATURES}_exact = Cast<to=11>(f_{FEATURES})\n" if features else ""
    return f"""
    f_sides_axes = {ints(2, 3)}
    f_row = {ints(1)}
    f_exact = Cast<to=11>(f_seen_pixels)
    f_means = ReduceMean<keepdims=0>(f_exact, f_sides_axes)
{_deviation("f_exact", "f_contrast", side, DARK)}{details}{_colours()}
{cast}    f_statistics = Concat<axis=1>(f_means, f_contrast_log, {fine}, f_pairs{features})
    f_usual = {doubles(familiarity.mean)}
    f_away = Sub(f_statistics, f_usual)
    f_white_flat = {doubles(whitening)}
    f_white_shape = {ints(count, count)}
    f_white = Reshape(f_white_flat, f_white_shape)
    f_straight = MatMul(f_away, f_white)
    f_squares = Mul(f_straight, f_straight)
    f_far = ReduceSum<keepdims=0>(f_squares, f_row)
    f_limit = {double(familiarity.limit**2)}
    {NONE_OF_THESE} = Greater(f_far, f_limit)
"""


def _deviation(source: str, name: str, side: int, least: float) -> str:
    """Return the logarithm of the deviation of every colour (batch, 3), called {name}_log."""
    return f"""
    {name}_mean = ReduceMean<keepdims=1>({source}, f_sides_axes)
    {name}_around = Sub({source}, {name}_mean)
    {name}_square = Mul({name}_around, {name}_around)
    {name}_sum = ReduceSum<keepdims=0>({name}_square, f_sides_axes)
    {name}_others = {double(side * side - 1)}
    {name}_variance = Div({name}_sum, {name}_others)
    {name}_std = Sqrt({name}_variance)
    {name}_least = {double(least)}
    {name}_more = Add({name}_std, {name}_least)
    {name}_log = Log({name}_more)
"""


def _detail(source: str, half: str, fine: str, side: int) -> str:
    """Return the means of squares of 2 x 2 pixels, and the deviation of what they lack.

    Of an odd side the last pixels stand twice, so that a square which is cut has its own mean.
    """
    cells = (side + 1) // 2
    whole, padded = f"{fine}_whole", side % 2
    pad = f"""
    {whole}_pads = {ints(0, 0, 0, 0, 0, 0, 1, 1)}
    {whole} = Pad<mode="edge">({source}, {whole}_pads)
"""
    cut = f"""
    {fine}_origin = {ints(0, 0)}
    {fine}_end = {ints(side, side)}
    {fine}_rest = Slice({fine}_all, {fine}_origin, {fine}_end, f_sides_axes)
"""
    return f"""{pad if padded else f"    {whole} = Identity({source})"}
    {fine}_split = {ints(0, 3, cells, 2, cells, 2)}
    {fine}_squares = Reshape({whole}, {fine}_split)
    {fine}_within = {ints(3, 5)}
    {fine}_means = ReduceMean<keepdims=1>({fine}_squares, {fine}_within)
    {half} = ReduceMean<keepdims=0>({fine}_squares, {fine}_within)
    {fine}_lacking = Sub({fine}_squares, {fine}_means)
    {fine}_joined = {ints(0, 3, 2 * cells, 2 * cells)}
    {fine}_all = Reshape({fine}_lacking, {fine}_joined)
{cut if padded else f"    {fine}_rest = Identity({fine}_all)"}
{_deviation(f"{fine}_rest", fine, side, FLAT)}"""


def _colours() -> str:
    """Return how red and green, green and blue, red and blue go together, (batch, 3).

    By sums of products, for ONNX Runtime 1.17 joins a product of matrices with the transposition
    before it to an operation that it does not know in 64 bits.
    """
    return f"""
    f_little = {double(1e-3)}
    f_powers_more = Add(f_contrast_sum, f_little)
    f_lengths = Sqrt(f_powers_more)
    f_one_of = {ints(0, 1, 0)}
    f_other_of = {ints(1, 2, 2)}
    f_these = Gather<axis=1>(f_contrast_around, f_one_of)
    f_those = Gather<axis=1>(f_contrast_around, f_other_of)
    f_products = Mul(f_these, f_those)
    f_together = ReduceSum<keepdims=0>(f_products, f_sides_axes)
    f_first = Gather<axis=1>(f_lengths, f_one_of)
    f_second = Gather<axis=1>(f_lengths, f_other_of)
    f_by_first = Div(f_together, f_first)
    f_correlation = Div(f_by_first, f_second)
    f_grey = {double(GREY)}
    f_against_grey = {double(-GREY)}
    f_bounded = Clip(f_correlation, f_against_grey, f_grey)
    f_single = {double(1)}
    f_above_one = Add(f_single, f_bounded)
    f_below_one = Sub(f_single, f_bounded)
    f_quotient = Div(f_above_one, f_below_one)
    f_log_quotient = Log(f_quotient)
    f_middle = {double(0.5)}
    f_pairs = Mul(f_log_quotient, f_middle)
"""
