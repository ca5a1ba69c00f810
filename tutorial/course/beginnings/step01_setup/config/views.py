from django.shortcuts import render


def index(request):
    """Show that the channel layer works."""
    context = {
        "asgi": getattr(request, "scope", None),
    }
    return render(request, "index.html", context)
