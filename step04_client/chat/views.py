from django.contrib.auth.decorators import login_required
from django.shortcuts import render

from chat.forms import RoomForm


@login_required
def index(request):
    """Ask for a room."""
    return render(request, "chat/index.html", {"form": RoomForm(initial={"name": "room1"})})


@login_required
def room(request):
    """Show a room, which a query string names because it may hold any character."""
    form = RoomForm(request.GET)
    if not form.is_valid():
        return render(request, "chat/index.html", {"form": form}, status=400)
    return render(request, "chat/room.html", {"room_name": form.cleaned_data["name"]})
