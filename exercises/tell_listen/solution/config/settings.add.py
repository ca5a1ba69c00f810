# Django looks for commands in apps.
INSTALLED_APPS.append("config")
