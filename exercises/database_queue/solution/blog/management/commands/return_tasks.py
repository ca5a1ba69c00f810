"""What a broker does with tasks that nobody acknowledges, as a command."""

from datetime import timedelta

from django.core.management.base import BaseCommand
from django.utils import timezone
from django_tasks_db.models import DBTaskResult


class Command(BaseCommand):
    """Called by a clock, every minute or so."""

    help = "Put tasks back into the queue that have been running for too long: their worker has died."

    def add_arguments(self, parser):
        """Called by Django."""
        parser.add_argument("--after", type=float, default=600, help="seconds that no task takes")

    def handle(self, *, after, **options):
        """Called by Django."""
        long_ago = timezone.now() - timedelta(seconds=after)
        stuck = DBTaskResult.objects.running().filter(started_at__lt=long_ago)
        self.stdout.write(f"Tasks put back: {stuck.update(status='READY')}")
