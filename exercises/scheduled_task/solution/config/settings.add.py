INSTALLED_APPS += ["blog.digest"]

# The schedule's time zone. Without it, eight in the morning means eight in UTC.
CELERY_TIMEZONE = "Asia/Tokyo"
