from django.urls import re_path

from blog.consumers import NoticeConsumer
from chat import consumers

websocket_urlpatterns = [
    re_path(r"^ws/chat/(?P<room_name>.+)/$", consumers.ChatConsumer.as_asgi()),
    re_path(r"^ws/notices/$", NoticeConsumer.as_asgi()),
    # Last: without a route that matches, the server logs a traceback and answers 500.
    re_path(r"", consumers.UnknownPathConsumer.as_asgi()),
]
