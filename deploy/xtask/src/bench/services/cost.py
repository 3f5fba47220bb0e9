"""Says in JSON what groups of processes cost over some seconds: CPU in percent of one
core, and PSS in MB at the end."""

import json
import os
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
GROUPS = {"hostler": ["hostler-executo", "hostler-agent"], "monit": ["monit"], "systemd": None}


def pids(names):
    if names is None:
        return [1]
    found = [subprocess.run(["pgrep", "-x", name], capture_output=True, text=True).stdout for name in names]
    return [int(pid) for pid in "".join(found).split()]


def cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    # What has ended of it, too.
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in rollup if line.startswith("Pss:"))


seconds = float(sys.argv[1])
groups = {group: pids(names) for group, names in GROUPS.items()}
before = {group: sum(map(cpu, found)) for group, found in groups.items()}
began = time.monotonic()
time.sleep(seconds)
lasted = time.monotonic() - began
cost = {}
for group, found in groups.items():
    if found != pids(GROUPS[group]):
        raise SystemExit(f"{group} is not the same processes any more")
    cost[f"{group} cpu"] = (sum(map(cpu, found)) - before[group]) / lasted * 100
    cost[f"{group} pss"] = sum(map(pss, found))
print(json.dumps(cost))
