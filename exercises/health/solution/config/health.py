"""What a load balancer keeps asking: can this server serve?"""

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import JsonResponse
from django.utils.decorators import sync_and_async_middleware
from redis.exceptions import RedisError

from config.views import round_trip

PATH = "/healthz"


async def health():
    """Send a message through the channel layer and return whether it came back."""
    try:
        await round_trip()
    except (RedisError, OSError):
        answer, status = {"status": "unavailable", "broker": "no answer"}, 503
    else:
        answer, status = {"status": "ok", "broker": "ok"}, 200
    return JsonResponse(answer, status=status, headers={"Cache-Control": "no-store"})


@sync_and_async_middleware
def health_middleware(get_response):
    """Answer PATH, and pass everything else on."""
    if iscoroutinefunction(get_response):

        async def middleware(request):
            return await health() if request.path == PATH else await get_response(request)

    else:

        def middleware(request):
            return async_to_sync(health)() if request.path == PATH else get_response(request)

    return middleware
