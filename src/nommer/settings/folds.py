"""Options of a training in folds, evaluated together."""

from nommer.errors import InputError, check_minimum


def check_folds(folds: int | None, fold: int | None, time_limit: str | None) -> None:
    """Refuse values of `TrainSettings` that do not fit each other.

    Raises:
        InputError: fewer than two folds, a fold that is not there, or a time limit of them all.
    """
    check_minimum("folds", folds, 2)
    if fold is not None and not 0 <= fold < (folds or 0):
        expected = f"0 to {folds - 1}" if folds else "--folds beside it"
        raise InputError(f"--fold: expected {expected}, got {fold}")
    if folds is not None and fold is None and time_limit is not None:
        raise InputError(
            "--time-limit: is for one run; give it to each of the folds, with --fold, or stop with "
            "Ctrl-C and go on with --resume"
        )
