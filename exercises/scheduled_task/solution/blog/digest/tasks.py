"""What a worker does when beat calls."""

import logging

from celery import shared_task
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Max

from blog.digest.models import Digest
from blog.models import Post
from blog.tasks import send_notification_email

logger = logging.getLogger(__name__)


@shared_task
def send_digest():
    """Mail everybody what was published since the last digest, if anything was."""
    last = Digest.objects.aggregate(last=Max("last_post"))["last"] or 0
    posts = list(Post.objects.filter(pk__gt=last).select_related("author").order_by("pk"))
    if not posts:
        return
    text = "\n".join(f"{post.title} ({post.author.username})" for post in posts)
    readers = get_user_model().objects.filter(is_active=True).exclude(email="")
    try:
        with transaction.atomic():
            Digest.objects.create(last_post=posts[-1].pk)
            for reader in readers:
                # A task for each, so that only a mail that fails is tried again.
                send_notification_email.delay_on_commit(reader.pk, text)
    except IntegrityError:
        logger.info("The digest up to post %s already exists.", posts[-1].pk)
