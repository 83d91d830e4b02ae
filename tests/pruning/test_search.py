"""Greedy removal: what is tried in which order, what stays, and when it ends."""

from nommer.pruning.search import Evaluated, search

ALL = ("convolution", "window", "global")


def evaluate_by(losses, shares):
    """An evaluation that takes off `losses[block, context]` points for whatever is gone."""

    def evaluate(kept):
        lost = sum(loss for (block, name), loss in losses.items() if name not in kept[block])
        left = {
            block: {name: share if name in kept[block] else 0 for name, share in of_block.items()}
            for block, of_block in shares.items()
            if len(kept[block]) > 1
        }
        return Evaluated(0.9 - lost / 100, left)

    return evaluate


def run(losses, shares, **limits):
    kept = dict.fromkeys(shares, ALL)
    evaluate, told = evaluate_by(losses, shares), []
    left, steps = search(
        kept, evaluate(kept), evaluate, **({"share": 0.01, "cost": 0.2} | limits), told=told.append
    )
    assert told == steps
    return left, steps


def of(convolution, window, spectral):
    return {"convolution": convolution, "window": window, "global": spectral}


def test_one_context_that_takes_all_leaves_no_nominator():
    left, steps = run({}, {"a": of(1.0, 0.0, 0.0), "b": of(0.0, 0.005, 0.995)})
    assert left == {"a": ("convolution",), "b": ("global",)}
    assert [step.removal.contexts for step in steps] == [
        ("window", "global"),
        ("convolution", "window"),
    ]
    assert all("nominated by less than 1.00%" in step.why for step in steps)


def test_what_costs_too_much_stays_and_is_tried_once():
    losses = {("a", "convolution"): 5.0, ("a", "window"): 0.1, ("a", "global"): 1.0}
    left, steps = run(losses, {"a": of(0.5, 0.2, 0.3)})
    assert left == {"a": ("convolution", "global")}
    tried = [(step.removal.contexts, step.accepted) for step in steps]
    assert len(tried) == len(set(tried))
    assert (("window",), True) in tried
    assert (("global",), False) in tried


def test_losses_add_up_to_the_limit():
    losses = {("a", "window"): 0.15, ("b", "window"): 0.15}
    shares = {"a": of(0.5, 0.1, 0.4), "b": of(0.5, 0.2, 0.3)}
    big = {(block, name): 9.0 for block in "ab" for name in ("convolution", "global")}
    left, _ = run(losses | big, shares)
    assert left == {"a": ("convolution", "global"), "b": ALL}


def test_without_a_cost_only_what_is_rare_is_evaluated():
    left, steps = run({}, {"a": of(0.5, 0.004, 0.496)}, cost=-1)
    assert left == {"a": ("convolution", "global")}
    assert len(steps) == 1
    assert not run({}, {"a": of(0.5, 0.004, 0.496)}, cost=-1, share=0)[1]
