"""`python -m nommer`: the command line."""

import sys

from nommer.cli import main

if __name__ == "__main__":
    sys.exit(main())
