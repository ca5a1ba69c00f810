"""A step's production settings, with the channel layer and the queue that the environment names."""

import os

from config import production as step
from config.production import *  # noqa: F403

HOSTS = {"hosts": step.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"]}
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
