"""`report.md` of `nommer prune`: removals, what they changed, and what was gained."""

from nommer.pruning.result import PruningResult


def summary(result: PruningResult) -> dict[str, str]:
    """Return what was gained and lost, in words, for the screen and the report."""
    blocks = sum(len(left) == 1 < len(result.before[name]) for name, left in result.kept.items())
    said = {"contexts removed": str(result.removed), "nominators removed": str(blocks)}
    if result.cost is None or result.parity is None:
        return said
    for name, (before, after) in {
        "GMACs of the network": result.cost.giga_macs,
        "parameters, millions": tuple(count / 1e6 for count in result.cost.parameters),
        "ms of the network": result.cost.network_ms,
        "ms of an answer": result.cost.answer_ms,
    }.items():
        said[name] = f"{before:.4g} -> {after:.4g} ({before / after:.2f} times as good)"
    parity = result.parity
    said["parity"] = (
        f"{parity.difference:.1e} of the largest value on {parity.images} images under the "
        "intervention"
    )
    if parity.untouched_difference is not None:
        said["parity, as it is"] = (
            f"{parity.untouched_difference:.1e} on the {parity.untouched} that nominated nothing "
            "removed"
        )
    return said


def report(result: PruningResult, measure: str) -> str:
    """Return the report in Markdown.

    Args:
        result: of the pruning.
        measure: what people call the task's own measure.
    """
    lines = ["# Contexts that were removed", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in summary(result).items()]
    lines += ["", *(f"- {row.sentence}" for row in result.comparison)]
    lines += ["", "| block | contexts before | contexts kept |", "|---|---|---|"]
    lines += [
        f"| {block} | {', '.join(had)} | {', '.join(result.kept[block])} |"
        for block, had in result.before.items()
    ]
    head = f"| without | share of its tokens | {measure} | points in all | |"
    lines += ["", head, "|---|---|---|---|---|"]
    lines += [
        f"| {step.removal.block}: {', '.join(step.removal.contexts)} | {step.removal.share:.2%} | "
        f"{step.measure:.4f} | {step.change:+.2f} | "
        f"{'removed' if step.accepted else 'kept'}, {step.why} |"
        for step in result.steps
    ]
    lines += [
        "",
        "Removals were chosen and evaluated on the same images, so the difference is optimistic; "
        "`nommer evaluate PRUNED MODEL --data OTHERS` evaluates both on others.",
    ]
    return "\n".join(lines) + "\n"
