def keep_send(app):
    """Pass the server's own send() on in the scope, past the middleware that wraps it."""

    async def keeping(scope, receive, send):
        await app(scope | {"server_send": send}, receive, send)

    return keeping


protocols = application.application_mapping
protocols["websocket"] = keep_send(protocols["websocket"])
