# Subscriptions instead of a mailbox per process: they survive a restart of the broker.
CHANNEL_LAYERS["default"]["BACKEND"] = "channels_redis.pubsub.RedisPubSubChannelLayer"
