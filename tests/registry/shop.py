"""A tiny application in two versions: `python shop.py PORT COLOUR DATABASE_PORT PASSWORD_FILE`.

Each POST is one order, committed before the answer, which is `COLOUR TOKEN`. Blue writes a note
and knows nothing of payments; green writes a payment and no note.
"""

from __future__ import annotations

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pymysql

port, colour, database_port, password_file = sys.argv[1:5]
password = Path(password_file).read_text().strip()
STATEMENT = {
    "blue": "INSERT INTO orders (token, note) VALUES (%s, 'by blue')",
    "green": "INSERT INTO orders (token, payment) VALUES (%s, 'card')",
}[colour]


class Order(BaseHTTPRequestHandler):
    """One order a request, in a connection of its own."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Its health."""
        self._answer("well")

    def do_POST(self) -> None:
        """An order."""
        token = self.rfile.read(int(self.headers["Content-Length"])).decode()
        session = pymysql.connect(
            host="127.0.0.1", port=int(database_port), user="app", password=password,
            database="slackwater_lab", autocommit=True, connect_timeout=10, read_timeout=20)
        with session, session.cursor() as cursor:
            cursor.execute(STATEMENT, (token,))
        self._answer(f"{colour} {token}")

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing for each request."""


class Server(ThreadingHTTPServer):
    """It ends when it has answered what it has."""

    daemon_threads = False
    request_queue_size = 128


server = Server(("127.0.0.1", int(port)), Order)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
