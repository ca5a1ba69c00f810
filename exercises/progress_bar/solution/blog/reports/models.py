from django.conf import settings
from django.db import models


class Report(models.Model):
    """How many characters somebody has written, and how far the count is."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    total = models.PositiveIntegerField()  # posts
    done = models.PositiveIntegerField(default=0)  # posts
    last_post = models.BigIntegerField(default=0)  # the id of the last one counted
    characters = models.PositiveBigIntegerField(default=0)
    finished = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.done} of {self.total}"

    @property
    def state(self):
        """The state, as a page gets it."""
        return {
            "done": self.done,
            "total": self.total,
            "characters": self.characters if self.finished else None,
        }
