"""A stand-in for an application: it says how it is, and names what it needs."""

import http.server
import os
import socket

NEEDS = {"database": 5432, "cache": 6379}


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        missing = [name for name, port in NEEDS.items() if not listens(port)]
        self.send_response(503 if missing and self.path == "/ready" else 200)
        self.end_headers()
        self.wfile.write(("missing: " + ", ".join(missing) if missing else "ok").encode())

    def log_message(self, *_):
        pass


print("key", os.environ["KEY"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Health).serve_forever()
