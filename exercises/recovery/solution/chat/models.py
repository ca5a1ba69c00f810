from django.conf import settings
from django.db import models


class Message(models.Model):
    room = models.CharField(max_length=100)
    sender = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    client_id = models.CharField(max_length=64)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # A message that a browser sends again, without an acknowledgement, is the same message.
            models.UniqueConstraint(fields=["sender", "room", "client_id"], name="chat_message_once"),
        ]
        indexes = [
            models.Index(fields=["room", "id"], name="chat_message_room"),
        ]

    def __str__(self):
        return self.text
