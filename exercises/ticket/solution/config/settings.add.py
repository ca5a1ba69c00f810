# Shared by all processes. Django's default is the memory of one process.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "cache",
        # Seconds. A broker that hangs must not hang the process.
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    },
}
TICKET_SECONDS = int(os.environ.get("TICKET_SECONDS", "10"))
