"""The ASGI entry point: the server calls `application` once for every connection."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Loads the apps. What uses models, as chat.routing does, can be imported only after it.
django_application = get_asgi_application()

from chat.routing import websocket_urlpatterns
from config.startup import lifespan

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # A browser sends its cookies along from any page; the Origin header says whose page it is.
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(websocket_urlpatterns),
            ),
        ),
        "lifespan": lifespan,
    }
)
