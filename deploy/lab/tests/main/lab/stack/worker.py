"""A stand-in for a worker: it says every second in the cache that it is there."""

import socket
import sys
import time

name = sys.argv[1]
while True:
    try:
        with socket.create_connection(("127.0.0.1", 6379), 2) as cache:
            cache.sendall(f"SET worker:{name} 1 EX 5\r\n".encode())
            cache.recv(64)
    except OSError as error:
        print("no cache:", error, flush=True)
    time.sleep(1)
