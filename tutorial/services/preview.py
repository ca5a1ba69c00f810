"""A page for a consumer that has no address yet: `tutorial preview`.

The parent keeps the broker and restarts the server, this module run by itself, with each save.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tutorial.services.on_save import run_on_save
from tutorial.services.ports import port_problem
from tutorial.services.processes import guard_children
from tutorial.services.run import CannotRun, in_a_line, start_broker

PAGE = Path(__file__).with_suffix(".html")
CONSUMER = "chat/consumers.py"


def run_preview(project: Path, port: int) -> None:
    """Serve a project's consumer and the page, again with each save, until Ctrl-C.

    Args:
        project: The project's directory.
        port: The port of 127.0.0.1 to listen on.

    Raises:
        CannotRun: The port is taken.
        NoBroker: There is no broker, and none can be embedded.
    """
    if problem := port_problem("127.0.0.1", port):
        way_out = f"Try another: tutorial preview --port {port + 1}"
        raise CannotRun(f"Cannot listen on 127.0.0.1 port {port}: {problem}.\n{way_out}")
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    guard_children()
    url, broker = start_broker()
    try:
        os.environ["REDIS_URL"] = url
        os.chdir(project)
        print(f"Preview of {project.name}. Ctrl-C stops it.", flush=True)
        run_on_save([sys.executable, "-m", "tutorial.services.preview", str(port)])
    finally:
        if broker:
            broker.stop()


def load(project: Path) -> tuple[Any, str]:
    """Return a project's consumer as an application, or None and a line on why there is none."""
    if not (project / CONSUMER).is_file():
        return None, f"{CONSUMER} does not exist. Create it and save."
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        import django

        django.setup()
        from chat import consumers

        if not hasattr(consumers, "ChatConsumer"):
            return None, f"{CONSUMER} has no class ChatConsumer. Write it and save."
        return consumers.ChatConsumer.as_asgi(), ""
    except Exception:  # Whatever a learner's code does.
        return None, in_a_line(traceback.format_exc(), project)


def preview_application(consumer: Any, problem: str, port: int) -> Any:
    """Return what serves the page at `/`, a consumer at `/socket`, and at `/saved` whether it can be run.

    `/socket?room=...&user=...` gives the consumer what a route and a login would: a room name and a user. An
    empty user is a visitor without a name.
    """
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name: value.decode("latin1") for name, value in scope["headers"]}
        # No other page, and no other name for this machine, may talk to the learner's code.
        own = headers.get(b"host") in hosts
        if scope["type"] == "http":
            found = own and scope["path"] == "/"
            start = {"type": "http.response.start", "status": 200 if found else 404}
            await send(start | {"headers": [(b"content-type", b"text/html; charset=utf-8")]})
            body = PAGE.read_bytes() if found else b"Not found"
            await send({"type": "http.response.body", "body": body})
        elif not own or headers.get(b"origin") != f"http://{headers[b'host']}":
            await send({"type": "websocket.close"})
        elif scope["path"] == "/saved":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": json.dumps({"problem": problem})})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        elif consumer and scope["path"] == "/socket":
            from django.contrib.auth.models import AnonymousUser, User

            query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
            scope["user"] = User(username=query["user"]) if "user" in query else AnonymousUser()
            scope["url_route"] = {"args": (), "kwargs": {"room_name": query.get("room", "")}}
            await consumer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    return application


def serve(port: int) -> None:
    """Serve the project in the current directory, or the page alone where it cannot be run."""
    # The next version is not to wait for what this one is doing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daphne.server import Server

    consumer, problem = load(Path.cwd())
    say = f"Not run: {problem}" if problem else f"ChatConsumer is ready: http://localhost:{port}/"
    application = preview_application(consumer, problem, port)
    endpoint = f"tcp:port={port}:interface=127.0.0.1"
    Server(
        application,
        [endpoint],
        signal_handlers=False,
        ready_callable=lambda: print(say, flush=True),
        verbosity=0,
    ).run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
