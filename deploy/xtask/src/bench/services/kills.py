"""Kills processes in turn, and says in JSON how long each took to run again, in ms: by
what a new one itself says of its beginning."""

import json
import os
import subprocess
import sys
import time

# Longer than the healthy spell after which Hostler counts anew.
PAUSE = 3.0
# Monit looks at it each second, and waits for a start.
LATEST = 30.0


def life(name):
    with open(f"/srv/bench/{name}") as said:
        pid, began = said.read().split()
    return int(pid), int(began)


def again(name):
    pid, _ = life(name)
    killed = time.time_ns()
    os.kill(pid, 9)
    while life(name)[0] == pid:
        if time.time_ns() - killed > LATEST * 1e9:
            raise SystemExit(f"{name} did not come back")
        time.sleep(0.0005)
    return pid, killed, (life(name)[1] - killed) / 1e6


def told(pid, killed):
    while True:
        ask = ["hostlerctl", "service", "history", "life", "-n", "3", "-o", "json"]
        if f"(pid {pid})" in subprocess.run(ask, capture_output=True, text=True).stdout:
            return (time.time_ns() - killed) / 1e6
        if time.time_ns() - killed > LATEST * 1e9:
            raise SystemExit("nothing was told of the restart")


rounds, names = int(sys.argv[1]), sys.argv[2:]
took = {name: [] for name in [*names, "told"]}
for _ in range(rounds):
    for name in names:
        pid, killed, ms = again(name)
        took[name].append(ms)
        if name == "hostler":
            took["told"].append(told(pid, killed))
    time.sleep(PAUSE)
print(json.dumps(took))
