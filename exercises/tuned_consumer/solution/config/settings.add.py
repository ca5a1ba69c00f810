# A room is heard by subscription, which survives a restart of the broker, instead of a mailbox per process.
CHANNEL_LAYERS["default"]["BACKEND"] = "channels_redis.pubsub.RedisPubSubChannelLayer"
