"""Typical mistakes, each as an exact replacement in a finished step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SETTINGS, CONFIG, ASGI = "config/settings.py", "config/__init__.py", "config/asgi.py"
PRODUCTION = "config/production.py"
CONSUMERS, ROUTING, ROOM_JS = "chat/consumers.py", "chat/routing.py", "chat/static/chat/room.js"
TASKS, VIEWS = "blog/tasks.py", "blog/views.py"

# Lines of the steps.
DAPHNE = '    "daphne",  # First: it replaces runserver with one that speaks ASGI.\n'
REDIS_LAYER = "channels_redis.core.RedisChannelLayer"
HOSTS = '"hosts": [{"address": REDIS_URL, "socket_timeout": None}]'
IMPORT_ROUTING = "from chat.routing import websocket_urlpatterns\n"
DIGEST = "hashlib.sha256(self.room_name.encode()).hexdigest()"
CAUGHT = "(ValueError, TypeError, KeyError, AttributeError, RecursionError)"
JOIN = "        await self.channel_layer.group_add(self.room_group, self.channel_name)\n"
LEAVE = "await self.channel_layer.group_discard(self.room_group, self.channel_name)"
SEND = "await self.channel_layer.group_send("
LAST_ROUTE = '    re_path(r"", consumers.UnknownPathConsumer.as_asgi()),\n'
INCLUDE_CHAT = '    path("chat/", include("chat.urls")),\n'
SCHEME = 'location.protocol === "https:" ? "wss:" : "ws:"'
SUBMIT = 'composer.addEventListener("submit", (event) => {\n'
PRESS = 'input.addEventListener("keydown", (e) => e.keyCode === 229 && composer.requestSubmit());\n'
# The mistaken lines.
SYNC_SEND = "async_to_sync(self.channel_layer.group_send)("
SEND_TO_ONE = "await self.channel_layer.send(\n            self.channel_name,"
IMPORT_SYNC = "import hashlib\n\nfrom asgiref.sync import async_to_sync\n"
USE_A_MODEL = ("import hashlib\n", "import hashlib\n\nfrom django.contrib.auth.models import User\n")


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        step: The number of the step it is made in.
        test: Words for `check -k` that choose the test it fails first; empty where the code does not load.
        changes: As for `change`. The first line of a check must name the first file.
    """

    step: int
    test: str
    changes: dict[str, tuple[str, ...] | str]


def change(directory: Path, changes: Mapping[str, tuple[str, ...] | str]) -> None:
    """Change files of a project.

    Args:
        directory: The project.
        changes: For a file's name its whole new text, or pairs of what to replace once and what with, one
            pair after the other in one flat tuple.

    Raises:
        AssertionError: A text to replace isn't in its file exactly once.
    """
    for name, replacements in changes.items():
        path = directory / name
        if isinstance(replacements, str):
            path.write_text(replacements)
            continue
        text = path.read_text()
        for old, new in zip(replacements[::2], replacements[1::2], strict=True):
            assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times, not once."
            text = text.replace(old, new)
        path.write_text(text)


# For a step and a file: each mistake with the test that it fails and its replacements.
TABLE = {
    (1, SETTINGS): {
        "daphne is missing": ("", DAPHNE, ""),
        "daphne is last": ("", DAPHNE, "", '    "channels",\n', f'    "channels",\n{DAPHNE}'),
        "the layer is in memory": (
            *("layer_is_redis", REDIS_LAYER, "channels.layers.InMemoryChannelLayer"),
            *(HOSTS, ""),
        ),
        "no CHANNEL_LAYERS": ("layer_is_redis", "CHANNEL_LAYERS = {", "LAYERS = {"),
        "an app twice": ("", '    "channels",\n', '    "channels",\n    "channels",\n'),
        "hosts is no list": ("layer_is_redis", HOSTS, '"hosts": REDIS_URL'),
        "the broker's address is written out": (
            *("layer_returns", 'os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")'),
            '"redis://127.0.0.1:1"',
        ),
        "no ASGI_APPLICATION": ("speaks_asgi", "ASGI_APPLICATION", "ASGI_APP"),
    },
    (1, "config/views.py"): {
        "the broker's death is not caught": ("broker_is_down", "(RedisError, OSError)", "RedisError"),
        "no timeout for a silent broker": ("broker_is_down", "asyncio.timeout(1)", "asyncio.timeout(30)"),
    },
    (2, CONSUMERS): {
        "no accept": ("reaches_everyone", "await self.accept()", "pass"),
        "accept without await": ("", "await self.accept()", "self.accept()"),
        "no group_add": ("reaches_everyone", JOIN, ""),
        "group_send without await": ("", SEND, SEND.removeprefix("await ")),
        "type names no method": ("reaches_everyone", '"type": "chat_message"', '"type": "chat.msg"'),
        "sent only to oneself": ("reaches_everyone", f"{SEND}\n            self.room_group,", SEND_TO_ONE),
        "one group for all rooms": ("another_room", DIGEST, '"all"'),
        "the room's name is the group's": ("any_room_name", DIGEST, "self.room_name"),
        "bad JSON is not caught": ("bad_frame", CAUGHT, "KeyError"),
        "only JSON errors are caught": ("bad_frame", CAUGHT, "(ValueError, KeyError)"),
        "empty messages pass": ("bad_frame", "if not message.strip()", "if False"),
        "characters are counted, not bytes": ("bad_frame", "len(message.encode())", "len(message)"),
        "the name of nobody": ("without_a_name", ' or "anonymous"', ""),
        "no group_discard": ("leaves_the_group", LEAVE, "pass"),
        "no length of a room's name": ("too_long", "len(self.room_name) > MAX_ROOM_NAME", "False"),
        "binary frames are forgotten": ("binary_frame", "text_data=None, bytes_data=None", "text_data"),
        "async_to_sync in async code": ("reaches_everyone", SEND, SYNC_SEND, "import hashlib\n", IMPORT_SYNC),
        "receive is not async": ("", "async def receive(", "def receive("),
        "recieve": ("", "async def receive(", "async def recieve("),
        "disconect": ("", "async def disconnect(", "async def disconect("),
        "chat_mesage": ("", "async def chat_message(", "async def chat_mesage("),
        "a method outside its class": ("", "    async def chat_message(", "async def chat_message("),
        "a line too far to the right": ("", "        await self.accept()", "         await self.accept()"),
        "a name that nothing imports": ("", "import hashlib\n", ""),
        "a name imported under another": ("", "import suppress\n", "import supress\n"),
        "a name from another place": ("", "MAX_MESSAGE = 4096  # bytes of UTF-8\n", ""),
    },
    (3, ROUTING): {
        "no .as_asgi()": ("who_speaks", "consumers.ChatConsumer.as_asgi()", "consumers.ChatConsumer"),
        "an unanchored route": ("unknown_path", 'r"^ws/chat/', 'r"ws/chat/', ".+)/$", "[^/]+)/"),
        "rooms are only letters": ("has_an_address", "(?P<room_name>.+)", r"(?P<room_name>\w+)"),
        "no slash at the end": ("unknown_path", ".+)/$", ".+)$"),
        "no last route": ("unknown_path", LAST_ROUTE, ""),
        "a route behind the last": (
            *("", "websocket_urlpatterns = [\n", f"websocket_urlpatterns = [\n{LAST_ROUTE}"),
        ),
        "a class that is not there": ("", "consumers.ChatConsumer.", "consumers.ChatConsumr."),
        "another keyword": ("who_speaks", "?P<room_name>", "?P<room>"),
    },
    (3, ASGI): {
        "routing before the apps are loaded": (
            *("", IMPORT_ROUTING, ""),
            *("from django.core.asgi", f"{IMPORT_ROUTING}from django.core.asgi"),
        ),
        "routing before Django": (
            *("imported_after", IMPORT_ROUTING, ""),
            *("from django.core.asgi", f"{IMPORT_ROUTING}from django.core.asgi"),
        ),
        "no websocket key": ("who_speaks", '"websocket": ', '"ws": '),
        "no Origin check": ("foreign_origin", "AllowedHostsOriginValidator(\n", "(lambda inner: inner)(\n"),
        "no session": ("who_speaks", "AuthMiddlewareStack(\n", "(lambda inner: inner)(\n"),
    },
    (4, ROOM_JS): {
        "wss written out": ("two_people", SCHEME, '"wss:"'),
        "ws written out": ("scheme_follows", SCHEME, '"ws:"'),
        "innerHTML": ("markup_stays", '": ", text);', '": ");\n  line.innerHTML += text;'),
        "no jitter": ("delay_grows", "Math.random() * Math.min", "Math.min"),
        "the delay does not grow": ("delay_grows", " * 2 ** failures", ""),
        "no reconnect": ("typed_while", "    setTimeout(connect, delay);\n", ""),
        "the room is not encoded": (
            *("in_the_browser", "encodeURIComponent(composer.dataset.room)"),
            "composer.dataset.room",
        ),
        "errors are not shown": ("error_from", "if (data.error)", "if (false)"),
        "listening to Enter": ("composition", SUBMIT, PRESS + SUBMIT),
        "readers are torn to the end": ("looks_back", "own || isAtEnd()", "true"),
        "a function that is not there": ("two_people", "function showUnread()", "function showUnred()"),
        "a time in one language": ("when_it_came", "toLocaleTimeString([], ", 'toLocaleTimeString("en", '),
    },
    (4, CONSUMERS): {
        "a socket without a login": ("without_a_login", 'not self.scope["user"].is_authenticated', "False"),
    },
    (4, "chat/urls.py"): {
        "no namespace in chat": ("cannot_be_a_room", 'app_name = "chat"\n', ""),
        "another name for a URL": ("cannot_be_a_room", 'name="room"', 'name="rom"'),
    },
    (4, "config/urls.py"): {"chat is not included": ("two_people", INCLUDE_CHAT, "")},
    (4, "chat/views.py"): {
        "no login_required": ("needs_a_login", "@login_required\ndef room(", "def room("),
        "a template that is not there": ("two_people", '"chat/room.html"', '"chat/rom.html"'),
    },
    (4, "templates/base.html"): {"no CSRF token": ("logout_button", "{% csrf_token %}", "")},
    (5, VIEWS): {
        "delay in a transaction": ("committed", "delay_on_commit(", "delay("),
        "queued before it is saved": ("rolled_back", "with transaction.atomic():", "if True:"),
        "no word about a dead broker": (
            "without_a_broker",
            "except OperationalError",
            "except ZeroDivisionError",
        ),
        "the error of the lesson stays": (
            *("only_to_an_address", "        messages.success("),
            "        1 / 0\n        messages.success(",
        ),
        "the user is the argument": ("committed", "(request.user.id, ", "(request.user, "),
    },
    (5, TASKS): {
        "the database may not restart": ("restart_of_the_database", "OSError, OperationalError", "OSError"),
        "nothing is tried again": (
            "busy",
            "    autoretry_for=(OSError, OperationalError, SoftTimeLimitExceeded),\n",
            "",
        ),
        "get() for a user who is gone": ("gone", ".filter(id=user_id).first()", ".get(id=user_id)"),
        "no look at the address": ("without_an_address", "user is None or not user.email", "user is None"),
        "no final refusal": ("final", "if not is_final(error):\n            raise", "raise"),
        "no @shared_task": ("committed", "@shared_task(", "dict("),
    },
    (5, SETTINGS): {
        "no acks_late": ("death_of_the_whole", "CELERY_TASK_ACKS_LATE = True\n", ""),
        "mail goes to the console": ("busy", "'smtp' if EMAIL_HOST else 'console'", "'console'"),
        "an hour until a task returns": (
            *("whole_worker", 'int(os.environ.get("VISIBILITY_TIMEOUT", "120"))'),
            "3600",
        ),
    },
    (5, PRODUCTION): {
        "no key is asked for": ("a_key_and_hosts", "not SECRET_KEY or ", ""),
        "no HSTS in production": ("deployment_check", "365 * 24 * 3600", "0"),
        "no servestatic": ("own_scripts", '    "servestatic.middleware.ServeStaticMiddleware",\n', ""),
        "no security policy": ("own_scripts", '    "csp.middleware.CSPMiddleware",\n', ""),
    },
    (5, CONFIG): {
        "the Celery app is not imported": (
            *("", "# Imported with the project, so that every .delay() finds the app and its broker.\n"),
            *("", "from config.celery import app as celery_app\n", "", '\n__all__ = ["celery_app"]\n', ""),
        ),
    },
    (5, "blog/urls.py"): {"no namespace in blog": ("committed", 'app_name = "blog"\n', "")},
}
MISTAKES = {
    name: Mistake(step, test, {file: tuple(pairs)})
    for (step, file), mistakes in TABLE.items()
    for name, (test, *pairs) in mistakes.items()
}
# It matters only with a line in another file.
MISTAKES["routing before the apps are loaded"].changes[CONSUMERS] = USE_A_MODEL

# For a mistake the line it is in, as its text or as a number, and the first line of a check behind the place;
# then a part of the hint.
SAYS = {
    "a name imported under another": (
        "with suppress(",
        "The name suppress is not defined",
        "imports supress. Did you mean suppress there?",
    ),
    "the error of the lesson stays": ("1 / 0", "An author whose account", "Take it out."),
    "another name for a URL": ("", "The form says", 'No path() is called name="room"'),
    "an app twice": ('"channels",', '"channels" is in INSTALLED_APPS twice', "Take one"),
    "accept without await": ("self.accept()", "self.accept() is never awaited", "await self.accept(…)"),
    "group_send without await": (
        SEND.removeprefix("await "),
        "self.channel_layer.group_send() is never awaited",
        "await self.channel_layer.group_send(…)",
    ),
    "recieve": ("async def recieve(", "ChatConsumer has recieve; did you mean receive?", "Rename it"),
    "disconect": (
        "async def disconect(",
        "ChatConsumer has disconect; did you mean disconnect?",
        "Rename it",
    ),
    "chat_mesage": (
        "async def chat_mesage(",
        "ChatConsumer has chat_mesage; did you mean chat_message?",
        "Rename it",
    ),
    "a method outside its class": (
        "async def chat_message(",
        "chat_message is outside its class",
        "like the other methods",
    ),
    "a line too far to the right": (
        "         await self.accept()",
        "IndentationError: unexpected indent",
        "the spaces at the beginning",
    ),
    "receive is not async": (
        "await ",
        "SyntaxError: 'await' outside async function",
        "`async def` for the function",
    ),
    "a name that nothing imports": ("hashlib.", "The name hashlib is not defined", "Add: import hashlib"),
    "a name from another place": (
        "> MAX_MESSAGE",
        "The name MAX_MESSAGE is not defined",
        "The lesson defines it in chat/consumers.py.",
    ),
    "a route behind the last": (
        "ChatConsumer.as_asgi()",
        "This route is never reached",
        "Put that one last.",
    ),
    "a class that is not there": (
        "ChatConsumr",
        "AttributeError: module 'chat.consumers' has no attribute 'ChatConsumr'",
        "Compare this name",
    ),
    "routing before Django": (
        IMPORT_ROUTING.strip(),
        "asgi.py imports chat.routing after get_asgi_application()",
        "Move this line below that call.",
    ),
    "a function that is not there": (
        'log.addEventListener("scroll", showUnread)',
        "What alice sends",
        "The page's script stops there.",
    ),
    "chat is not included": ("", "What alice sends", 'must include("chat.urls")'),
    "a template that is not there": ("chat/rom.html", "What alice sends", "has chat/rom.html"),
    "the Celery app is not imported": (
        "",
        "config/__init__.py does not import",
        "must import the Celery app",
    ),
}
