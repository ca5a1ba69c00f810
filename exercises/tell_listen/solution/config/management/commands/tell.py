from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.management.base import BaseCommand

from config.management.broker import errors_in_one_line


class Command(BaseCommand):
    help = "Send a text to everyone who listens to a group."

    def add_arguments(self, parser):
        parser.add_argument("group")
        parser.add_argument("text")

    def handle(self, group, text, **options):
        with errors_in_one_line():
            async_to_sync(get_channel_layer().group_send)(group, {"type": "note", "text": text})
