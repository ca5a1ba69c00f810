"""The notice of step 5, as one of Django's own tasks."""

import logging
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.utils import timezone

from blog.tasks import is_final

try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 20


@task
def mail_notice(user_id, message, attempt=1):
    """Mail a message to a user; while the mail server can't take it, again after 1, 2, 4 … 60 s."""
    user = get_user_model().objects.filter(id=user_id).first()
    if user is None or not user.email:
        logger.warning("No notice for user %s: deleted, or without an address.", user_id)
        return
    try:
        send_mail("通知", message, "noreply@example.com", [user.email])
    except OSError as error:
        if is_final(error) or attempt == MAX_ATTEMPTS:
            raise  # The task has failed, and its row keeps the error.
        logger.warning("Attempt %s to mail user %s: %s", attempt, user_id, error)
        later = timezone.now() + timedelta(seconds=min(2 ** (attempt - 1), 60))
        mail_notice.using(run_after=later).enqueue(user_id, message, attempt + 1)
