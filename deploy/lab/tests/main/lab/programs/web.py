"""A web service that asks its Redis how it is, and can be made sick until it is restarted."""

import http.server
import socket
import sys

REDIS = (sys.argv[2], 6390)
sick = []


def answers():
    try:
        with socket.create_connection(REDIS, 1) as redis:
            redis.sendall(b"PING\r\n")
            return redis.recv(16).startswith(b"+PONG")
    except OSError:
        return False


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/sicken":
            sick.append(True)
        missing = "sick" if sick else "" if answers() else "redis does not answer"
        self.send_response(503 if missing and self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write((missing or "ok").encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
