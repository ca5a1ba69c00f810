# Every key in the broker begins with it. An empty variable, as docker compose may set, counts as unset.
CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = os.environ.get("LAYER_PREFIX") or "asgi"
