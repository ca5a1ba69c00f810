# Commands are looked for in apps.
INSTALLED_APPS.append("config")
