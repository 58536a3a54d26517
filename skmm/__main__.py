"""``python -m skmm`` is the command ``skmm``."""

import sys

from skmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
