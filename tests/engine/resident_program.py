"""The program as it is, but for the rest between repairs in a row: a hundred would take hours."""

import sys

from toolkit import residency
from toolkit.__main__ import main

if __name__ == "__main__":
    residency.QUICK_REPAIRS = 1_000_000
    sys.exit(main())
