"""Tickets: each opens one socket, once, within seconds, for a client without a cookie."""

import secrets

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache

OFFER = "ticket."  # the beginning of the subprotocol that carries one


def make_ticket(user):
    """Return a new ticket for a user."""
    ticket = secrets.token_urlsafe(32)
    cache.set(f"ticket:{ticket}", user.pk, settings.TICKET_SECONDS)
    return ticket


async def use_up(ticket):
    """Return the user whose ticket this is; from now on it is worthless."""
    user_id = await cache.aget(f"ticket:{ticket}")
    # Two may have read it. It is deleted for only one of them.
    if user_id is None or not await cache.adelete(f"ticket:{ticket}"):
        return AnonymousUser()
    user = await get_user_model().objects.filter(pk=user_id, is_active=True).afirst()
    return user or AnonymousUser()


class TicketMiddleware:
    """Takes the user from a ticket, if there is one. Else the session's stays."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        """Called once for every socket."""
        for offer in scope["subprotocols"]:
            if offer.startswith(OFFER):
                scope = scope | {"user": await use_up(offer.removeprefix(OFFER))}
        return await self.application(scope, receive, send)
