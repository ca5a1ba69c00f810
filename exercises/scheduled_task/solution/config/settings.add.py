INSTALLED_APPS += ["blog.digest"]

# The clock of the schedule. Without it, eight in the morning is eight in London's winter.
CELERY_TIMEZONE = "Asia/Tokyo"
