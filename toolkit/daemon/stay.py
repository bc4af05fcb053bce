"""Starts the keeper from its compiled form: compiled as a script it would take 1 MB more."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0])

from toolkit.daemon.keeper import main

main(sys.argv[1:])
