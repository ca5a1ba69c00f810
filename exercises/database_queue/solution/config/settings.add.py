INSTALLED_APPS += ["django_tasks_db"]
# The queue is a table in the app's own database. Workers: python manage.py db_worker --no-reload
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
