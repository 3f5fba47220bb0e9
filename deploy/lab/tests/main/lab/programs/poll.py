"""Asks each address every 50 ms and writes down who does not answer, whenever that changes."""

import http.client
import json
import sys
import threading
import time

down = {}
lock = threading.Lock()
told = open(sys.argv[1], "a", buffering=1)
addresses = sys.argv[2:]


def answers(address):
    try:
        connection = http.client.HTTPConnection(address, timeout=0.5)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()
        return True
    except OSError:
        return False


def watch(address):
    while True:
        began = time.time()
        is_down = not answers(address)
        with lock:
            if down.get(address, False) != is_down:
                down[address] = is_down
                names = sorted(one for one, state in down.items() if state)
                told.write(json.dumps({"at": began, "down": names}) + "\n")
        time.sleep(max(0.0, 0.05 - (time.time() - began)))


for one in addresses:
    threading.Thread(target=watch, args=(one,), daemon=True).start()
told.write(json.dumps({"at": time.time(), "down": []}) + "\n")
while True:
    time.sleep(60)
