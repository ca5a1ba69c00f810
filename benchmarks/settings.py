"""A step's settings, with the channel layer and the queue that the environment names."""

import os

from config import settings as step
from config.settings import *  # noqa: F403

# The load comes over plain HTTP from this machine.
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False

LAYER = os.environ.get("BENCHMARK_LAYER")
HOSTS = {"hosts": step.CHANNEL_LAYERS["default"]["CONFIG"].get("hosts", [step.REDIS_URL])}
if LAYER == "core":
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": HOSTS | {"capacity": 1000},
        },
    }
elif LAYER == "pubsub":
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": HOSTS},
    }
elif LAYER == "memory":
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}},
    }

# Without a queue, the task runs in the request.
CELERY_TASK_ALWAYS_EAGER = os.environ.get("BENCHMARK_QUEUE") == "no"
