"""A process of a run that the first one has started; it trains its share, and ends."""

import sys

from nommer.distributed.interruption import Stopped, StopSignals
from nommer.distributed.launch import acting_as
from nommer.distributed.rendezvous import Rendezvous
from nommer.distributed.siblings import read_task
from nommer.distributed.trainer import quiet_lightning
from nommer.errors import InputError
from nommer.progress import console
from nommer.training.own_parts import own_datasets
from nommer.training.train import fit


def main() -> int:
    """Train; returns the exit code, as the command would."""
    prepared, launch, port = read_task()
    console.quiet = True
    try:
        with StopSignals() as stop, acting_as(launch.rank), quiet_lightning():
            rendezvous = Rendezvous(launch, port)
            with own_datasets(prepared.own):
                fit(prepared, prepared.training_module(prepared.build_model()), rendezvous, stop)
    except (InputError, OSError) as error:
        if getattr(error, "everywhere", None) is not True:  # else the first says it
            sys.stderr.write(f"error: {error}\n")
        return 2
    except Stopped as stopped:
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
