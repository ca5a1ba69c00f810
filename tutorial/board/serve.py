"""Run the board until Ctrl-C: its broker, its server, and what the terminal shows."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import segno
import uvicorn

from tutorial.services.broker import Broker, NoBroker, reachable_broker
from tutorial.services.ports import port_problem
from tutorial.services.processes import guard_children
from tutorial.services.run import allowed_hosts, lan_addresses

LARGEST = 4096  # bytes of a frame; uvicorn closes a socket that sends more


class CannotServe(RuntimeError):
    """Raised when the board cannot run here; its text says why and what to do."""


@contextlib.contextmanager
def own_broker() -> Iterator[str]:
    """Embed a broker for the board alone, and start it again if it ends; yield its address.

    What is found takes its place where none can be embedded.

    Raises:
        NoBroker: There is neither.
    """
    try:
        broker = Broker().start()
    except NoBroker:
        if not (found := reachable_broker()):
            raise
        yield found
        return
    ended = threading.Event()

    def keep_up() -> None:
        while not ended.is_set():
            broker.wait()
            if not ended.wait(0.2):
                with contextlib.suppress(NoBroker):
                    broker.spawn()

    threading.Thread(target=keep_up, daemon=True).start()
    try:
        yield broker.url
    finally:
        ended.set()
        broker.stop()


def run_board(host: str, port: int, code: str, key: str, hide_names: bool, report: Path | None) -> None:
    """Serve the board until Ctrl-C, and write the report then.

    Args:
        host: The address to listen on.
        port: The port.
        code: The room's six letters; new ones if empty.
        key: What a page must show; a new one if empty.
        hide_names: Whether no page shows a nickname.
        report: Where to write the closing report.

    Raises:
        CannotServe: The port is taken, or the report cannot be written.
        NoBroker: There is no broker, and none can be embedded.
    """
    if problem := port_problem(host, port):
        raise CannotServe(
            f"Cannot listen on {host} port {port}: {problem}. Try another: tutorial board --port {port + 1}"
        )
    if report:
        try:
            with report.open("a"):
                pass
        except OSError as error:
            raise CannotServe(f"The report cannot be written to {report}: {error.strerror}.") from None
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    guard_children()
    with own_broker() as url:
        os.environ |= {"REDIS_URL": url, "BOARD_HOSTS": allowed_hosts(host)}
        from tutorial.board import asgi, consumers
        from tutorial.board.report import closing_report
        from tutorial.board.room import Room

        room = consumers.room = Room(code, key, hide_names)
        config = uvicorn.Config(
            asgi.application,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws_max_size=LARGEST,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=announce, args=(server, host, port, room), daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.run()
        finally:
            if report:
                report.write_text(closing_report(room), encoding="utf-8")
                print(f"\nThe report is in {report}.", flush=True)


def announce(server: uvicorn.Server, host: str, port: int, room: "Room") -> None:  # type: ignore[name-defined] # noqa: F821
    """Wait until the server listens, then print how to join and where to look."""
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.05)
    addresses = lan_addresses() if host in ("0.0.0.0", "::") else [host]  # noqa: S104 - compared
    shown = addresses[0] if addresses else "localhost"
    base = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    page = f"{base}/#{room.key}"
    lines = [
        "The board is open. Everybody types once:",
        "",
        f"    tutorial join {base} {room.code} NICKNAME",
        "",
        f"Your page, for you alone:    {page}",
        f"For the projector, no names: {base}/?projector#{room.key}",
        *(f"The same from another network: http://{other}:{port}" for other in addresses[1:]),
        "",
        "If it ends, everybody comes back by themselves to:",
        f"    tutorial board --code {room.code} --key {room.key}",
        "Ctrl-C ends it, and forgets everything.",
    ]
    print("\n" + "\n".join(f"  {line}" for line in lines) + "\n", flush=True)
    if sys.stdout.isatty():
        print("  Your page on your phone:\n")
        segno.make(page, error="l").terminal(compact=True, border=2)
        print(flush=True)
