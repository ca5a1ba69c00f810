# First: a probe gets its answer before anything checks the host name or redirects to HTTPS.
MIDDLEWARE.insert(0, "config.health.health_middleware")
