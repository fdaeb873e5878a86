"""Port-forwarding as Kubernetes' API server does it over a websocket: channel 0 carries data, channel 1 errors, and each
begins with the port's number. See RFC 6455 for the frames."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE = 2, 8


def relay(handler: BaseHTTPRequestHandler, target: int, port: int) -> None:
    """Answer a request to forward `port` by relaying to port `target` of this machine."""
    key = handler.headers["Sec-WebSocket-Key"] + MAGIC
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())  # noqa: S324
    handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
    handler.end_headers()
    handler.close_connection = True
    for channel in (0, 1):
        _send(handler.wfile, bytes([channel]) + port.to_bytes(2, "little"))
    with socket.create_connection(("127.0.0.1", target)) as there:
        threading.Thread(target=_answers, args=(there, handler.wfile), daemon=True).start()
        while (data := _receive(handler.rfile)) is not None:
            there.sendall(data[1:])


def _answers(there: socket.socket, sink: BufferedIOBase) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := there.recv(30000):
            _send(sink, b"\0" + data)
        _send(sink, b"", CLOSE)


def _send(sink: BufferedIOBase, data: bytes, kind: int = BINARY) -> None:
    length = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    sink.write(bytes([0x80 | kind]) + length + data)
    sink.flush()


def _receive(source: BufferedIOBase) -> bytes | None:
    """The data of the next frame from the client, whose frames are masked; None at the end."""
    head = source.read(2)
    if len(head) < 2 or head[0] & 0x0F == CLOSE:
        return None
    size = head[1] & 0x7F
    if size >= 126:
        size = int.from_bytes(source.read(2 if size == 126 else 8), "big")
    mask = source.read(4)
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(source.read(size)))
