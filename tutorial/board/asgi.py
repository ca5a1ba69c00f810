"""The board's ASGI application."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tutorial.board.settings")
http = get_asgi_application()

from tutorial.board.consumers import LearnerConsumer, Nowhere, PageConsumer  # noqa: E402 - after the apps

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("learner", LearnerConsumer.as_asgi()),
                path("page", PageConsumer.as_asgi()),
                path("<path:path>", Nowhere.as_asgi()),
            ]
        ),
    }
)
