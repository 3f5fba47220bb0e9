"""Does not end when asked to, nor does its child, nor the one in a session of its own."""

import os
import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
elif os.fork() == 0:
    os.setpgid(0, 0)
while True:
    time.sleep(60)
