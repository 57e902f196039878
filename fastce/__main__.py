"""Entry of ``python -m fastce``."""

import sys

from fastce._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
