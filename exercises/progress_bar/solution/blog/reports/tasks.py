"""A long piece of work, done as many short tasks."""

import logging
import time

from asgiref.sync import async_to_sync
from celery import shared_task
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from blog.models import Post
from blog.reports.models import Report

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds; imitates slow work


def group_of(report_id):
    """Return the group of all open pages of a report."""
    return f"report_{report_id}"


@shared_task
def work_on(report_id):
    """Count the next post of a report, send the state to its pages, and leave the rest to the next task."""
    report = Report.objects.filter(pk=report_id, finished=False).first()
    if report is None:
        return
    before = report.last_post
    post = Post.objects.filter(author=report.owner_id, pk__gt=before).order_by("pk").first()
    if post and report.done < report.total:
        time.sleep(PAUSE)
        report.characters += len(post.body)
        report.last_post = post.pk
        report.done += 1
    report.finished = post is None or report.done == report.total
    fields = ("characters", "last_post", "done", "finished")
    values = {name: getattr(report, name) for name in fields}
    # Only if no other task was faster: a task that is delivered twice counts its post once.
    if not Report.objects.filter(pk=report_id, last_post=before, finished=False).update(**values):
        return
    tell(report)
    if not report.finished:
        work_on.delay(report_id)


def tell(report):
    """Send a report's state to its open pages. If that fails, a page that loads reads the database."""
    try:
        event = {"type": "progress", "state": report.state}
        async_to_sync(get_channel_layer().group_send)(group_of(report.pk), event)
    except (RedisError, OSError):
        logger.exception("The pages of report %s get no news", report.pk)
