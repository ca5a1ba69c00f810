"""Typical mistakes, each as an exact replacement in a finished step."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        name: What it is, in words.
        step: The step it is made in.
        file: The file it is made in, which the first line of a check must name.
        edits: Pairs of what stands there, once or more, and what is written instead.
        only: Words for `check -k` that choose the tests it concerns, where those come late otherwise.
        also: What the mistake needs in other files to matter.
    """

    name: str
    step: str
    file: str
    edits: tuple[tuple[str, str], ...]
    only: str = ""
    also: dict[str, tuple[str, str]] = field(default_factory=dict)


def made_in(file: str, step: str, *mistakes: tuple) -> list[Mistake]:
    """Return the mistakes in a file, each given as name, what stands there, what is written and `only`."""
    return [
        Mistake(name, step, file, ((old, new),), only[0] if only else "")
        for name, old, new, *only in mistakes
    ]


DAPHNE = '    "daphne",  # First: it replaces runserver with one that speaks ASGI.\n'
IMPORT = "from chat.routing import websocket_urlpatterns\n"
LAYERS = "CHANNEL_LAYERS = {"

MISTAKES = [
    *made_in(
        "config/settings.py",
        "step01_setup",
        ("daphne is missing", DAPHNE, ""),
        ("daphne is last", DAPHNE, ""),
        (
            "the layer is in memory",
            "channels_redis.core.RedisChannelLayer",
            "channels.layers.InMemoryChannelLayer",
        ),
        ("no CHANNEL_LAYERS", LAYERS, "LAYERS = {"),
        ("hosts is no list", '[{"address": REDIS_URL, "retry": Retry(NoBackoff(), 1)}]', "REDIS_URL"),
        (
            "the broker's address is written out",
            'os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")',
            '"redis://127.0.0.1:1"',
        ),
        ("no ASGI_APPLICATION", "ASGI_APPLICATION", "ASGI_APP"),
        (
            "no HSTS in production",
            "SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600",
            "SECURE_HSTS_SECONDS = 0",
        ),
    ),
    *made_in(
        "config/views.py",
        "step01_setup",
        ("the broker's death is not caught", "except (RedisError, OSError)", "except RedisError"),
        ("no timeout for a silent broker", "asyncio.timeout(1)", "asyncio.timeout(60)"),
    ),
    *made_in(
        "chat/consumers.py",
        "step02_consumer",
        ("no accept", "        await self.accept()\n", ""),
        ("accept without await", "await self.accept()", "self.accept()"),
        (
            "no group_add",
            "        await self.channel_layer.group_add(self.room_group, self.channel_name)\n",
            "",
        ),
        (
            "group_send without await",
            "await self.channel_layer.group_send(",
            "self.channel_layer.group_send(",
        ),
        ("type names no method", '"type": "chat_message"', '"type": "chat_msg"'),
        (
            "sent only to oneself",
            "await self.channel_layer.group_send(\n            self.room_group,",
            "await self.channel_layer.send(\n            self.channel_name,",
        ),
        ("one group for all rooms", "hashlib.sha256(self.room_name.encode()).hexdigest()", '"all"'),
        (
            "the room's name is the group's",
            "hashlib.sha256(self.room_name.encode()).hexdigest()",
            "self.room_name",
        ),
        (
            "bad JSON is not caught",
            "except (ValueError, TypeError, KeyError, AttributeError, RecursionError)",
            "except KeyError",
        ),
        (
            "only JSON errors are caught",
            "except (ValueError, TypeError, KeyError, AttributeError, RecursionError)",
            "except (ValueError, KeyError)",
        ),
        ("empty messages pass", "    if not message.strip():\n", "    if False:\n"),
        ("characters are counted, not bytes", "len(message.encode())", "len(message)"),
        ("the name of nobody", ' or "anonymous"', ""),
        (
            "no group_discard",
            "await self.channel_layer.group_discard(self.room_group, self.channel_name)",
            "pass",
        ),
        ("no length of a room's name", "len(self.room_name) > MAX_ROOM_NAME", "False"),
        ("binary frames are forgotten", "text_data=None, bytes_data=None", "text_data"),
        (
            "async_to_sync in async code",
            "await self.channel_layer.group_send(",
            "__import__('asgiref.sync').sync.async_to_sync(self.channel_layer.group_send)(",
        ),
        ("receive is not async", "    async def receive(", "    def receive("),
    ),
    *made_in(
        "config/settings.py",
        "step03_routing",
        ("no limit for a frame", "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE = 64 * 1024", ""),
    ),
    *made_in(
        "chat/routing.py",
        "step03_routing",
        ("no .as_asgi()", "consumers.ChatConsumer.as_asgi()", "consumers.ChatConsumer"),
        ("an unanchored route", 'r"^ws/chat/', 'r"ws/chat/'),
        ("rooms are only letters", r"(?P<room_name>.+)", r"(?P<room_name>\w+)"),
        ("no slash at the end", ".+)/$", ".+)$"),
        ("no last route", '    re_path(r"", consumers.UnknownPathConsumer.as_asgi()),\n', ""),
        ("another keyword", "?P<room_name>", "?P<room>"),
    ),
    *made_in(
        "config/asgi.py",
        "step03_routing",
        ("routing before the apps are loaded", IMPORT, IMPORT),
        ("no websocket key", '"websocket": ', '"ws": '),
        ("no Origin check", "AllowedHostsOriginValidator(\n", "(lambda inner: inner)(\n"),
        ("no session", "AuthMiddlewareStack(\n", "(lambda inner: inner)(\n"),
    ),
    *made_in(
        "chat/static/chat/room.js",
        "step04_client",
        ("wss written out", 'location.protocol === "https:" ? "wss:" : "ws:"', '"wss:"', "two_people"),
        ("ws written out", 'location.protocol === "https:" ? "wss:" : "ws:"', '"ws:"', "scheme_follows"),
        (
            "innerHTML",
            'line.append(speaker, ": ", text);',
            'line.append(speaker, ": ");\n  line.innerHTML += text;',
            "markup_stays",
        ),
        ("no jitter", "Math.random() * Math.min", "Math.min", "delay_grows"),
        ("the delay does not grow", " * 2 ** failures", "", "delay_grows"),
        ("no reconnect", "    setTimeout(connect, delay);\n", "", "typed_while"),
        (
            "the room is not encoded",
            "encodeURIComponent(composer.dataset.room)",
            "composer.dataset.room",
            "in_the_browser",
        ),
        ("errors are not shown", "    if (data.error) {", "    if (false) {", "error_from"),
        (
            "listening to Enter",
            'composer.addEventListener("submit", (event) => {\n',
            'input.addEventListener("keydown", (e) => e.keyCode === 229 && composer.requestSubmit());\n'
            'composer.addEventListener("submit", (event) => {\n',
            "composition",
        ),
    ),
    *made_in(
        "chat/consumers.py",
        "step04_client",
        (
            "a socket without a login",
            'not self.scope["user"].is_authenticated',
            "False",
            "without_a_login or name",
        ),
    ),
    *made_in(
        "config/settings.py",
        "step04_client",
        (
            "no servestatic",
            '    "servestatic.middleware.ServeStaticMiddleware",',
            '    # "servestatic",',
            "static_files",
        ),
        ("no security policy", '    "csp.middleware.CSPMiddleware",\n', "", "own_scripts"),
    ),
    *made_in(
        "chat/urls.py",
        "step04_client",
        ("no namespace in chat", 'app_name = "chat"\n', ""),
    ),
    *made_in(
        "chat/views.py",
        "step04_client",
        ("no login_required", "@login_required\ndef room(", "def room("),
    ),
    *made_in(
        "templates/base.html",
        "step04_client",
        ("no CSRF token", "        {% csrf_token %}\n", "", "logout_button"),
    ),
    *made_in(
        "blog/views.py",
        "step05_celery",
        ("delay in a transaction", "delay_on_commit(", "delay("),
        (
            "queued before it is saved",
            "        with transaction.atomic():\n",
            "        if True:\n",
            "rolled_back or committed",
        ),
        (
            "no word about a dead broker",
            "except OperationalError",
            "except ZeroDivisionError",
            "without_a_broker",
        ),
        ("the user is the argument", "(request.user.id, ", "(request.user, "),
    ),
    *made_in(
        "blog/tasks.py",
        "step05_celery",
        (
            "no acks_late",
            "    acks_late=True,\n    reject_on_worker_lost=True,\n",
            "",
            "death_of_the_whole",
        ),
        ("nothing is tried again", "    autoretry_for=(OSError, SoftTimeLimitExceeded),\n", "", "busy"),
        ("get() for a user who is gone", ".filter(id=user_id).first()", ".get(id=user_id)", "gone"),
        ("no look at the address", "user is None or not user.email", "user is None"),
        (
            "no final refusal",
            "        if not is_final(error):\n            raise\n",
            "        raise\n",
            "final",
        ),
        ("no @shared_task", "@shared_task(", "dict("),
    ),
    *made_in(
        "config/settings.py",
        "step05_celery",
        ("mail goes to the console", "'smtp' if EMAIL_HOST else 'console'", "'console'", "busy"),
        (
            "an hour until a task returns",
            'int(os.environ.get("VISIBILITY_TIMEOUT", "120"))',
            "3600",
            "whole_worker",
        ),
    ),
    *made_in(
        "config/__init__.py",
        "step05_celery",
        (
            "the Celery app is not imported",
            "from config.celery import app as celery_app\n",
            "celery_app = None\n",
        ),
    ),
    *made_in(
        "blog/urls.py",
        "step05_celery",
        ("no namespace in blog", 'app_name = "blog"\n', ""),
    ),
]


# What moves a line, or needs a line in another file to matter.
MODELS = "from django.contrib.auth.models import User\n"
SPECIAL = {
    "daphne is last": ((DAPHNE, ""), ('    "channels",\n', f'    "channels",\n{DAPHNE}')),
    "routing before the apps are loaded": (
        (IMPORT, ""),
        ("from django.core.asgi", f"{IMPORT}from django.core.asgi"),
    ),
    "an unanchored route": (('r"^ws/chat/', 'r"ws/chat/'), (".+)/$", "[^/]+)/")),
}
ALSO = {
    "routing before the apps are loaded": {
        "chat/consumers.py": ("import hashlib\n", f"import hashlib\n{MODELS}")
    }
}

# Of step 3, only its own tests: the server that the earlier ones start tells nothing new about its mistakes.
OWN = {"step03_routing": "test_step03"}

MISTAKES = [
    replace(
        mistake,
        edits=SPECIAL.get(mistake.name, mistake.edits),
        also=ALSO.get(mistake.name, {}),
        only=mistake.only or OWN.get(mistake.step, ""),
    )
    for mistake in MISTAKES
]
