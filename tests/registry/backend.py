"""A member's server: `python backend.py PORT NAME`. Says its name; /slow takes half a second.

Run without slackwater, so that fifty of them start quickly. SIGTERM: stops taking connections and
ends when it has answered what it has.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time

port, name = int(sys.argv[1]), sys.argv[2].encode()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen(512)


def answer(client: socket.socket) -> None:
    with client:
        client.settimeout(30)
        try:
            asked = client.recv(65536)
        except OSError:
            return
        if not asked:
            return
        if b" /slow" in asked.split(b"\r\n")[0]:
            time.sleep(0.5)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                       % (len(name), name))


def end(*_: object) -> None:
    listener.close()
    raise SystemExit


signal.signal(signal.SIGTERM, end)
while True:
    try:
        link, _ = listener.accept()
    except OSError:
        break
    threading.Thread(target=answer, args=(link,)).start()
