"""The settings for a step's own machine, but with the database that DATABASE_URL names."""

import os

from config.addresses import database_of
from config.settings import *  # noqa: F403

DATABASES = {"default": database_of(os.environ["DATABASE_URL"])}
