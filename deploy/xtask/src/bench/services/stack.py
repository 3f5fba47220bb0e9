"""Starts a stack and says in JSON how many seconds passed until all of it was well."""

import json
import subprocess
import sys
import time

parts = sys.argv[1:]
subprocess.run(["hostlerctl", "apply", "-f", "/root/stack.yaml", "--yes"], check=True, stdout=subprocess.DEVNULL)
latest = time.monotonic() + 60
while True:
    asked = subprocess.run(["hostler-agent", "service", "ls", "-o", "json"], capture_output=True, text=True)
    now = time.time_ns()
    states = {one["service"]: one["state"] for one in json.loads(asked.stdout)}
    if all(states.get(part) == "running" for part in parts):
        break
    if time.monotonic() > latest:
        raise SystemExit(f"not all of it is well: {states}")
began = min(int(open(f"/srv/bench/part-{part}.began").read()) for part in parts)
print(json.dumps({"seconds": (now - began) / 1e9}))
