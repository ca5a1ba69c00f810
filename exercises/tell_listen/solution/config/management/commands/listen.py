import asyncio
import signal
from contextlib import suppress

from channels.layers import get_channel_layer
from django.core.management.base import BaseCommand

from config.management.broker import errors_in_one_line


class Command(BaseCommand):
    help = "Print every text that is sent to a group, until Ctrl-C."

    def add_arguments(self, parser):
        parser.add_argument("group")

    def handle(self, group, **options):
        with errors_in_one_line(), suppress(asyncio.CancelledError):
            asyncio.run(self.listen(group))

    async def listen(self, group):
        # Either signal cancels the task, so that `finally` still has a loop to await in.
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        try:
            self.stdout.write(f"Listening to {group}. Ctrl-C stops it.")
            while True:
                event = await layer.receive(channel)
                self.stdout.write(event["text"])
                self.stdout.flush()
        finally:
            await layer.group_discard(group, channel)
