"""The Celery app: `celery -A config worker` starts a worker with it, `celery -A config beat` its clock."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

every_seconds = os.environ.get("DIGEST_EVERY")  # to try it without waiting for the morning
app.conf.beat_schedule = {
    "digest": {
        "task": "blog.digest.tasks.send_digest",
        "schedule": float(every_seconds) if every_seconds else crontab(hour=8, minute=0),
        # A worker that comes too late leaves it: nobody wants the morning's digest at night.
        "options": {"expires": 3600},
    },
}
