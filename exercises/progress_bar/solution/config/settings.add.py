INSTALLED_APPS += ["blog.reports"]
