"""A way to a real orchestrator on which anything can happen: cut, swallowed, trickled, repeated, overtaken."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
Fault = str | Answer | None
"""What is done to a request.

reset: cut while it is read. half a request: cut while it is passed on. lost ack: cut once the orchestrator answered.
half an answer: cut in the middle of it. black hole: swallowed, without a word. half-open: passed on, and the answer
swallowed. slow: passed on and answered a few bytes at a time. twice: passed on twice. overtaken: cut, and passed on
after the next one. again later: passed on, and once more after the next one. A tuple is the answer of somebody in
between, such as a login page.
"""


class Proxy:
    """Listens on loopback and passes on to `port`; `choose` names the fault of each request.

    requests: when each came, and what was done to it.
    """

    def __init__(self, port: int, choose: Callable[[], Fault], seed: int = 0) -> None:
        self.requests: list[tuple[float, Fault]] = []
        self._port, self._dice = port, random.Random(seed)
        self._late: list[tuple[str, str, dict[str, str], bytes]] = []
        self._guard, self._closing = threading.Lock(), threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def _handle(self) -> None:
                fault = choose()
                proxy.requests.append((time.monotonic(), fault))
                length = int(self.headers.get("Content-Length", 0))
                if fault == "reset":
                    self.rfile.read(proxy._some(length))
                    proxy._cut(self)
                    return
                body = self.rfile.read(length)
                if isinstance(fault, tuple):
                    proxy._answer(self, fault)
                else:
                    proxy._pass(self, fault, body)

            do_GET = do_POST = do_PUT = _handle

        class Listener(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _pass(self, handler: BaseHTTPRequestHandler, fault: Fault, body: bytes) -> None:
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "host"}
        request = (handler.command, handler.path, headers, body)
        if fault == "black hole":
            self._hang(handler)
            return
        if fault == "overtaken":
            with self._guard:
                self._late.append(request)
            self._cut(handler)
            return
        if fault == "half a request":
            self._half(request)
            self._cut(handler)
            return
        answer = self._ask(request, slowly=fault == "slow")
        if fault == "twice":
            answer = self._ask(request)
        with self._guard:
            late, self._late = self._late, [request] if fault == "again later" else []
        for one in late:
            self._ask(one)
        if fault == "lost ack":
            self._cut(handler)
        elif fault == "half-open":
            self._hang(handler)
        else:
            self._answer(handler, answer, fault)

    def _ask(self, request: tuple[str, str, dict[str, str], bytes], *, slowly: bool = False) -> Answer:
        method, path, headers, body = request
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            pieces = [body]
            if slowly:
                size = max(1, len(body) // 20)
                pieces = [body[at : at + size] for at in range(0, len(body), size)]
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            for piece in pieces:
                time.sleep(0.002 if slowly else 0)
                connection.send(piece)
            response = connection.getresponse()
            kept = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
            return response.status, kept, response.read()
        finally:
            connection.close()

    def _half(self, request: tuple[str, str, dict[str, str], bytes]) -> None:
        method, path, headers, body = request
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as one:
            lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
            head = "\r\n".join(lines + [f"{name}: {value}" for name, value in headers.items()])
            one.sendall(f"{head}\r\n\r\n".encode() + body[: self._some(len(body))])
            if self._dice.random() < 0.5:
                _linger(one)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer, fault: Fault = None) -> None:
        status, headers, body = answer
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
        text = ("\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        if fault == "half an answer":
            handler.wfile.write(text[: self._some(len(text) - 1)])
            self._cut(handler)
        elif fault == "slow":
            for at in range(0, len(text), 16):
                handler.wfile.write(text[at : at + 16])
                time.sleep(0.002)
        else:
            handler.wfile.write(text)

    def _hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Say nothing until the other side has given up."""
        handler.close_connection = True
        handler.connection.settimeout(0.05)
        while not self._closing.is_set():
            try:
                if not handler.connection.recv(1024):
                    return
            except TimeoutError:
                continue

    def _cut(self, handler: BaseHTTPRequestHandler) -> None:
        """With a reset half of the time, else in order."""
        handler.close_connection = True
        if self._dice.random() < 0.5:
            _linger(handler.connection)
        with contextlib.suppress(OSError):
            handler.connection.close()

    def _some(self, most: int) -> int:
        return self._dice.randint(0, max(0, most))

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: Any) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


def _linger(one: socket.socket) -> None:
    """Let `close` send a reset and forget what was on its way."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
