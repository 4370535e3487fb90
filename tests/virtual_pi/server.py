"""Carries the client's calls to the kernel: one thread a connection, one message a call.

The layouts are those of ``struct request`` and ``struct reply`` in preload.c.
"""

from __future__ import annotations

import os
import pathlib
import socket
import struct
import threading
from typing import Tuple

from .kernel import Answer, Kernel

__all__ = ["Server"]

(
    HELLO, OPEN, STAT, ACCESS, IOCTL, MMAP, MUNMAP, FSTAT, LOAD, STORE, APPROVE, WRITE,
) = range(1, 13)  # fmt: skip
_REQUEST = struct.Struct("<IIQQQQ")
_REPLY = struct.Struct("<iIqqqq")
_ROOM = 1 << 18


class Server:
    """Listens on a socket until closed."""

    def __init__(self, kernel: Kernel, path: pathlib.Path) -> None:
        self.kernel = kernel
        self.errors: list = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._connections: set = set()
        threading.Thread(target=self._accept, daemon=True, name="virtual Pi").start()

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _ROOM)
            self._connections.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), daemon=True, name="virtual Pi, client"
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while True:
                message = connection.recv(_ROOM)
                if not message:
                    return
                self._send(connection, self._answer(message))
        except OSError:
            return  # the client died
        finally:
            self._connections.discard(connection)
            connection.close()

    def _answer(self, message: bytes) -> Answer:
        fields: Tuple[int, ...] = _REQUEST.unpack_from(message)
        try:
            return self._call(*fields, data=message[_REQUEST.size :])
        except OSError as error:
            return Answer(error=error.errno or 5)
        except Exception as error:
            self.errors.append(error)
            raise

    def _call(self, op: int, pid: int, a: int, b: int, c: int, d: int, data: bytes) -> Answer:
        kernel = self.kernel
        if op == IOCTL:
            return kernel.ioctl(pid, a, b, c, d, data)
        if op == MMAP:
            return kernel.mmap(pid, a, b, c, d & 0xFFFFFFFF, d >> 32)
        if op == MUNMAP:
            return kernel.munmap(a)
        if op == LOAD:
            return kernel.register(pid, a, None)
        if op == STORE:
            return kernel.register(pid, a, b, c)
        with kernel.lock:
            if op == HELLO:
                return kernel.hello(pid, a, b)
            if op == FSTAT:
                return kernel.look_at(a)
            if op == WRITE:
                return kernel.write(a, data)
            text = os.fsdecode(data.rstrip(b"\0"))
            if op == OPEN:
                return kernel.open(pid, text, a)
            if op == STAT:
                return kernel.look(text)
            if op == ACCESS:
                return kernel.access(text, a)
            if op == APPROVE:
                kernel.faults.enter(text, pid)
                return Answer()
        return Answer(error=38)

    @staticmethod
    def _send(connection: socket.socket, answer: Answer) -> None:
        head = _REPLY.pack(answer.error, 0, *(_signed(value) for value in answer.values))
        if answer.fd < 0:
            connection.send(head + answer.payload)
            return
        try:
            socket.send_fds(connection, [head + answer.payload], [answer.fd])
        finally:
            if answer.close:
                os.close(answer.fd)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
