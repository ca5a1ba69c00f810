"""The board's page and its files. What a page may see is decided where its socket opens."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tutorial.course.steps import find_step

HERE = Path(__file__).parent / "static"
STYLE = find_step("5") / "static/style.css"  # the board looks like the course
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page(request: HttpRequest, file: Path = HERE / "board.html") -> HttpResponse:
    """Return one of the files, which never has anything about a learner in it."""
    answer = HttpResponse(file.read_bytes(), content_type=f"{TYPES[file.suffix]}; charset=utf-8")
    answer["Cache-Control"] = "no-store"
    return answer


urlpatterns = [
    path("", page),
    *(path(file.name, page, {"file": file}) for file in (STYLE, *sorted(HERE.iterdir()))),
]
