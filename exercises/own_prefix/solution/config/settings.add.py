# Every key in the broker begins with it. An empty variable, as docker compose likes to set, counts as none.
CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = os.environ.get("LAYER_PREFIX") or "asgi"
