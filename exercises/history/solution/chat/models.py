from django.conf import settings
from django.db import models


class Message(models.Model):
    room = models.CharField(max_length=100)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["room", "id"], name="chat_message_room"),
        ]

    def __str__(self):
        return self.text
