# First: a probe is answered before anything asks for a host name or for HTTPS.
MIDDLEWARE.insert(0, "config.health.health_middleware")
