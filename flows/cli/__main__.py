"""`python -m flows.cli` is the command `millrace`."""

import sys

from flows.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
