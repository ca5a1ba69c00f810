"""Django settings of the board. It has no database, no login and no sessions: nothing is kept."""

import os
import secrets

DEBUG = False
SECRET_KEY = secrets.token_urlsafe(32)  # a new one each time: nothing that is signed outlives the board
ALLOWED_HOSTS = os.environ["BOARD_HOSTS"].split()

INSTALLED_APPS = ["channels"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
ROOT_URLCONF = "tutorial.board.pages"
TIME_ZONE = None  # the machine's own: Django would set the process to Chicago's
USE_TZ = True

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]], "prefix": "board"},
    },
}
