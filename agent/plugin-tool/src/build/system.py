"""Tells the run's error what an exception said that nothing caught: it ends the
run as a crash, whose words are the last error in the log."""

import sys

from wit_world.imports import log


def tell(kind, error, trace):
    sys.__excepthook__(kind, error, trace)
    log.write(log.Level.ERROR, f"{kind.__name__}: {error}", [])


sys.excepthook = tell
