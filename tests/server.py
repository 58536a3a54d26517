"""A server on this machine, for what is fetched."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Files by their name, how a request for them goes wrong, and the names that were asked for."""

    def __init__(self):
        self.files, self.failures, self.requests = {}, {}, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):  # the server is self
                name = handler.path.strip("/")
                self.requests.append(name)
                queue = self.failures.get(name, [])
                self.answer(handler, name, queue.pop(0) if queue else None)

            def log_message(handler, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler, name, failure):
        if isinstance(failure, int) or name not in self.files:
            handler.send_error(failure or 404)
            return
        body = self.files[name]
        handler.send_response(200)
        if failure != "no length":
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if failure == "cut off" else body)

    def url(self, name):
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
