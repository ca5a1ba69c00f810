from django.db import models


class Digest(models.Model):
    # The id of the last post in it. Unique: of two tasks at once, one makes the digest.
    last_post = models.BigIntegerField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return f"up to post {self.last_post}"
