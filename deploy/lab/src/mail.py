"""A mail server for tests, of Debian's python3-aiosmtpd.

It keeps what it takes as lines of JSON. A file says how it behaves: ok, slow,
later (451) or reject (550).
"""
import asyncio
import email
import json
import os
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, folder, tls, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def behaviour():
    with open(os.path.join(folder, "behaviour")) as file:
        return file.read().strip()


class Handler:
    async def handle_DATA(self, server, session, envelope):
        how = behaviour()
        if how == "slow":
            # Longer than a whole try.
            await asyncio.sleep(35)
        if how == "later":
            return "451 4.3.0 come back later"
        if how == "reject":
            return "550 5.7.1 not for us"
        mail = email.message_from_bytes(envelope.content)
        body = mail.get_payload(decode=True).decode()
        subject = str(email.header.make_header(email.header.decode_header(mail["Subject"])))
        line = {
            "id": mail["Message-ID"],
            "subject": subject,
            "body": body,
            "to": envelope.rcpt_tos,
            "login": getattr(session.auth_data, "login", b"").decode() if session.auth_data else None,
            "tls": session.ssl is not None or tls == "tls",
        }
        with open(os.path.join(folder, "mails"), "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, auth_data):
    return AuthResult(success=auth_data.password.decode() == password, auth_data=auth_data)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(os.path.join(folder, "server.crt"), os.path.join(folder, "server.key"))
options = {"hostname": "127.0.0.1", "port": port, "authenticator": authenticate, "auth_required": True}
if tls == "tls":
    options.update(ssl_context=context, auth_require_tls=False)
else:
    options.update(tls_context=context, require_starttls=True)
controller = Controller(Handler(), **options)
controller.start()
while True:
    time.sleep(3600)
