"""The line to a broker, or from a browser to its servers: it may go dead, be cut, shut, or slow."""

import contextlib
import socket
import struct
import threading
from time import sleep
from typing import Self


class Line:
    """Passes each TCP connection on to the first port of 127.0.0.1 that takes it; a context manager.

    Args:
        ports: The ports.

    Attributes:
        port: Where it listens.
        delay: Seconds that each piece of data takes longer.
        open: An event; while it is clear, new connections are taken and nothing is passed on.
    """

    def __init__(self, *ports: int):
        self._ports = list(ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        self.open = threading.Event()
        self.open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._dead = set[socket.socket]()

    @property
    def url(self) -> str:
        """The address of a broker at its end."""
        return f"redis://127.0.0.1:{self.port}"

    def prefer(self, port: int) -> None:
        """Pass new connections on to one port first."""
        self._ports.sort(key=lambda each: each != port)

    def suffer(self, fault: str) -> None:
        """Spoil the line.

        Args:
            fault: `dead`: the connections of this moment carry nothing any more, and neither end hears of it;
                `cut`: both ends get a reset; `shut`: they are dead, and new ones carry nothing until it is
                open again; `slow`: each piece of data takes 0.3 s longer.
        """
        match fault:
            case "cut":
                self._reset()
            case "slow":
                self.delay = 0.3
            case "dead" | "shut":
                self._dead.update(end for pair in self._pairs for end in pair)
        if fault == "shut":
            self.open.clear()

    def _reset(self) -> None:
        for end in {end for pair in self._pairs for end in pair}:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)
                end.close()
        self._pairs.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self.open.wait()
        for port in self._ports:
            with contextlib.suppress(OSError):
                far = socket.create_connection(("127.0.0.1", port))
                self._pairs.append((near, far))
                for end, other in (near, far), (far, near):
                    threading.Thread(target=self._pump, args=(end, other), daemon=True).start()
                return
        near.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.delay:
                    sleep(self.delay)
                if source not in self._dead:
                    target.sendall(data)
        # It has ended, or was reset.
        if source not in self._dead:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.open.set()
        for pair in self._pairs:
            for end in pair:
                end.close()
