"""`python -m moereg.cli`"""

import sys

from moereg.cli import main

if __name__ == "__main__":
    sys.exit(main())
