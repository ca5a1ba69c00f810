"""The board's page and its files. What a page may see is decided where its socket opens."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import path

HERE = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page(request: HttpRequest, name: str = "board.html") -> HttpResponse:
    """Return one of the files, which never has anything about a learner in it."""
    file = HERE / name
    answer = HttpResponse(file.read_bytes(), content_type=f"{TYPES[file.suffix]}; charset=utf-8")
    answer["Cache-Control"] = "no-store"
    return answer


urlpatterns = [
    path("", page),
    *(path(file.name, page, {"name": file.name}) for file in sorted(HERE.iterdir())),
]
