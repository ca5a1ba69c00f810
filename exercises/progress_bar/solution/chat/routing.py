from django.urls import re_path

from blog.reports.consumers import ReportConsumer
from chat import consumers

websocket_urlpatterns = [
    re_path(r"^ws/chat/(?P<room_name>.+)/$", consumers.ChatConsumer.as_asgi()),
    re_path(r"^ws/reports/(?P<report_id>[0-9]{1,18})/$", ReportConsumer.as_asgi()),
    # Last: without a route that matches, the server logs a traceback and answers 500.
    re_path(r"", consumers.UnknownPathConsumer.as_asgi()),
]
