# Imported with the project, so that every .delay() finds the app and its broker.
from config.celery import app as celery_app

__all__ = ["celery_app"]
