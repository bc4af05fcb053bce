"""Starts what stays resident from its compiled form: as a script it would take 1 MB more."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0])

from toolkit.daemon import handover

watch = handover.read(handover.descriptor_of(handover.own()))["watch"]
if watch["nri"] is None:
    from toolkit.daemon.keeper import main
else:
    from toolkit.daemon.nri import main

main(watch)
