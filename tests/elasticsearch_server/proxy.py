"""A proxy before the server that spoils what passes it: by what tests and benchmarks tell it, for each request anew.

It speaks HTTP without encryption, and knows of Elasticsearch only how bulk requests look.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = Callable[["Request"], None]
"""Spoils a request, or leaves it alone; called in the order in which requests come, one at a time."""


class Request:
    """A request on its way: a fault looks at it and may call one of the methods.

    Attributes:
        number: Of the request, from 1 on, since the fault was set.
        path: With the query.
    """

    def __init__(self, number: int, method: str, path: str, body: bytes) -> None:
        self.number, self.method, self.path, self.body = number, method, path, body
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.lost: str | None = None
        self.items: dict[int, dict] = {}

    @property
    def is_bulk(self) -> bool:
        """Whether it carries many actions."""
        return self.path.partition("?")[0].endswith("/_bulk")

    def lose(self, what: str) -> None:
        """The connection is reset: before the server sees the `request`, or in place of its `answer`."""
        self.lost = what

    def refuse(self, status: int, kind: str, retry_after: int | None = None) -> None:
        """The server does not see it; the answer is an error of this type."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.answer = status, headers, json.dumps({"error": {"type": kind, "root_cause": [{"type": kind}]}}).encode()

    def refuse_item(self, position: int, status: int, kind: str) -> None:
        """The server does not see this action of a bulk request, and seems to refuse it alone."""
        self.items[position] = {"status": status, "error": {"type": kind, "reason": "for the test"}}


class Proxy:
    """The running proxy; `proxy` makes it.

    Attributes:
        address: To be used in the server's place.
        fault: What happens to each request; none: it passes.
        requests: How many came since the fault was set.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that has gone is no error."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        with self._lock:
            self._fault, self.requests = fault, 0

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        with self._lock:
            self.requests += 1
            request = Request(self.requests, handler.command, handler.path, body)
            if self._fault is not None:
                self._fault(request)
        if request.lost == "request":
            return _reset(handler)
        if request.answer is None:
            request.answer = self._pass_on(request, {**handler.headers})
        if request.lost or request.answer is None:
            return _reset(handler)
        status, headers, answer = request.answer
        handler.send_response(status)
        for name, value in {
            "X-Elastic-Product": "Elasticsearch",
            "Content-Type": "application/json",
            **headers,
            "Content-Length": str(len(answer)),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer)
        return None

    def _pass_on(self, request: Request, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        """The server's answer; none where the server is not there."""
        body = request.body
        if request.items:
            body = b"".join(action for n, action in enumerate(actions(body)) if n not in request.items)
            if not body:
                return 200, {}, json.dumps(_spliced({"took": 0, "items": []}, request)).encode()
        headers = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")}
        connection = http.client.HTTPConnection(self._upstream, timeout=600)
        try:
            connection.request(request.method, request.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        kept = {"Content-Type": answer.headers.get("content-type", "application/json")}
        if not request.items or answer.status != 200:
            return answer.status, kept, content
        return 200, kept, json.dumps(_spliced(json.loads(content), request)).encode()


def actions(body: bytes) -> list[bytes]:
    """The actions of a bulk request, each with its line feeds."""
    lines, found = body.splitlines(keepends=True), []
    while lines:
        taken = 1 if b'"delete"' in lines[0][:12] else 2
        found.append(b"".join(lines[:taken]))
        lines = lines[taken:]
    return found


def _spliced(answer: dict, request: Request) -> dict:
    """A bulk answer with the items that the server did not see."""
    passed = iter(answer["items"])
    items = []
    for n, action in enumerate(actions(request.body)):
        ((verb, header),) = json.loads(action.splitlines()[0]).items()
        items.append({verb: {"_id": header["_id"], **request.items[n]}} if n in request.items else next(passed))
    return {**answer, "errors": True, "items": items}


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Ends a connection by RST, as a host does that has lost it."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.connection.close()


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the server at this address, for as long as this lasts."""
    running = Proxy(upstream)
    thread = threading.Thread(target=running.server.serve_forever, args=(0.05,), name="proxy")
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()
        running.server.server_close()
