"""`python -m moereg`, and `torchrun -m moereg`."""

import sys

from moereg.cli import main

if __name__ == "__main__":
    sys.exit(main())
