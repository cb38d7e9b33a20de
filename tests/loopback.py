"""A server of one file on the loopback interface, and the manners in which it may serve."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from btsee_lib.data import download


class Server:
    """Serves ``content``. ``manners`` says how; ``asked`` keeps the ranges asked for."""

    def __init__(self, content, manners):
        server = self
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.content = content
                asked = self.headers.get("Range", "")
                server.asked.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                manners(self, start)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/archive.tar.gz"

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@contextlib.contextmanager
def serving(content, monkeypatch):
    """Yield what starts a server of this content in given manners; downloads ask again without a pause."""
    servers = []

    def start(manners):
        servers.append(Server(content, manners))
        return servers[-1]

    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "PIECE_BYTES", 50_000)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    yield start
    for server in servers:
        server.close()


def answer(request, status, body, tell=None, length=None):
    request.send_response(status)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    if tell is not None:
        request.send_header("Content-Range", tell)
    request.end_headers()
    request.wfile.write(body)


def honest(request, start):
    breaks_off_after(len(request.content))(request, start)


def breaks_off_after(number):
    """Serve at most so many bytes a request, and promise all."""

    def manners(request, start):
        whole = len(request.content)
        rest = request.content[start:]
        tell = f"bytes {start}-{whole - 1}/{whole}" if start else None
        answer(request, 206 if start else 200, rest[:number], tell, length=len(rest))

    return manners


def altered(request, start):
    answer(request, 200, b"?" + request.content[1:])


def not_found(request, start):
    request.send_error(404)
