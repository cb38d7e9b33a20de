"""Servers of one file on the loopback interface, and the manners in which they may serve."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves ``content`` in some manner; ``asked`` counts the requests."""

    def __init__(self, content, manner):
        server = self
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked += 1
                manner(self, content)

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
    """Yield what starts a server of this content in a given manner."""
    servers = []

    def start(manner):
        servers.append(Server(content, manner))
        return servers[-1]

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    yield start
    for server in servers:
        server.close()


def honest(request, content, length=None, **headers):
    request.send_response(200)
    for name, value in ({"Content-Length": length or len(content)} | headers).items():
        request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()
    request.wfile.write(content)


def altered(request, content):
    honest(request, b"?" + content[1:])


def breaks_off(request, content):
    """Promise all and serve half."""
    honest(request, content[: len(content) // 2], len(content))


def redirects_to_nonsense(request, content):
    request.send_response(302)
    request.send_header("Location", "http://[nonsense")
    request.end_headers()


def not_found(request, content):
    request.send_error(404)
