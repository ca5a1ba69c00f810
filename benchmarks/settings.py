"""A step's settings, with the channel layer and the queue that the environment names."""

import os

from config import settings as step
from config.settings import *  # noqa: F403

# The load comes over plain HTTP from this machine.
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False

HOSTS = {"hosts": step.CHANNEL_LAYERS["default"]["CONFIG"].get("hosts", [step.REDIS_URL])}
ROOMY = {"capacity": 1000}
LAYERS = {
    "core": ("channels_redis.core.RedisChannelLayer", HOSTS | ROOMY),
    "pubsub": ("channels_redis.pubsub.RedisPubSubChannelLayer", HOSTS),
    "memory": ("channels.layers.InMemoryChannelLayer", ROOMY),
}
if layer := os.environ.get("BENCHMARK_LAYER"):
    CHANNEL_LAYERS = {"default": dict(zip(("BACKEND", "CONFIG"), LAYERS[layer], strict=True))}

# Without a queue, the task runs in the request.
CELERY_TASK_ALWAYS_EAGER = os.environ.get("BENCHMARK_QUEUE") == "no"
