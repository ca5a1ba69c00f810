"""Settings for a server that others use: DJANGO_SETTINGS_MODULE=config.production."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config.addresses import celery_broker, database_of, layer_hosts
from config.settings import *

DEBUG = False
SECRET_KEY = os.environ.get("SECRET_KEY")
if not SECRET_KEY or not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("Set SECRET_KEY, and ALLOWED_HOSTS to host names with spaces between.")

# Only HTTPS. HTTPS=0 is for a try on a machine without a certificate.
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("HTTPS", "1") == "1"
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

# Without DEBUG, Django serves no static files; servestatic does, from any ASGI server.
SERVESTATIC_USE_FINDERS = True
MIDDLEWARE[1:1] = [
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
]

# The browser runs no script and takes no style but those from our own static files.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}

# Django's own default prints errors only while DEBUG is on.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO"}},
}

if "DATABASE_URL" in os.environ:
    DATABASES["default"] = database_of(os.environ["DATABASE_URL"])
    DATABASES["default"]["OPTIONS"] |= {
        # A few connections for all threads of a process: under ASGI each request may run in another one.
        "pool": {"min_size": 1, "max_size": 10, "timeout": 5},
        "connect_timeout": 5,  # seconds
    }
else:
    DATABASES["default"]["OPTIONS"] = {
        # Readers don't wait for the writer, and the file is synced now and then, not at each commit.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        # A transaction takes its turn to write when it begins; later, SQLite would refuse it at once.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds that it waits for its turn
    }

FOR_A_CROWD = {
    # One retry at once: the connection from the pool may have died with the broker.
    "retry": Retry(NoBackoff(), 1),
    # Seconds. The broker answers the layer every 5 s; a connection that is silent for longer is dead.
    # With Python 3.11, a timeout can keep a consumer from ending, so there it stays without one.
    "socket_timeout": 10 if sys.version_info >= (3, 12) else None,
    # redis-py 8 would refuse a process its 101st connection.
    "max_connections": 10_000,
}
CHANNEL_LAYERS["default"]["CONFIG"] |= {
    "hosts": [host | FOR_A_CROWD for host in layer_hosts(REDIS_URL)],
    # Messages that may wait for one process. The default, 100, is too few as well.
    "capacity": 1000,
}

CELERY_BROKER_URL, options = celery_broker(os.environ.get("CELERY_BROKER_URL", REDIS_URL))
CELERY_BROKER_TRANSPORT_OPTIONS |= options
if CELERY_BROKER_URL.startswith("amqp"):
    # RabbitMQ notices a worker that has gone, so no timeout is needed. It confirms each task that it has.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
    # The queue is on the disks of most nodes before that.
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
# A worker doesn't start before what it needs is right.
CELERY_IMPORTS = ["config.startup"]

EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = os.environ.get("EMAIL_USE_TLS", "0") == "1"

# The first limit raises in the task, the second kills its process. The task is not lost with it.
CELERY_TASK_SOFT_TIME_LIMIT = 3 * EMAIL_TIMEOUT
CELERY_TASK_TIME_LIMIT = 4 * EMAIL_TIMEOUT
CELERY_TASK_ACKS_ON_TIMEOUT = False
# Each death costs one of a task's tries, so that a mail that kills its process is given up in the end.
CELERY_TASK_RETRY_ON_WORKER_LOST = True
CELERY_TASK_ANNOTATIONS = {"*": {"default_retry_delay": 1}}
# Reserve no more tasks than are worked on: a reserved task's visibility timeout runs already.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
