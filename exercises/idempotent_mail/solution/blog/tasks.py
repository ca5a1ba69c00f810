"""What a worker does in the background."""

import hashlib
import logging
import smtplib

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from redis.exceptions import RedisError

from blog.once import Busy, once

logger = logging.getLogger(__name__)


def is_final(error):
    """Tell whether a mail server has refused for good, with a code of 500 or more, or only for now."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return getattr(error, "smtp_code", 0) >= 500


@shared_task(
    bind=True,
    # Acknowledged when it is done: a task whose worker dies goes back to the queue.
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_timeout=False,
    # Each death costs one of the tries, so that a mail that kills its process is given up in the end.
    retry_on_worker_lost=True,
    default_retry_delay=1,
    # Tried again after up to 1, 2, 4 … 60 s. Every error of smtplib or a socket is an OSError.
    autoretry_for=(OSError, RedisError, SoftTimeLimitExceeded),
    retry_backoff=True,
    retry_backoff_max=60,
    retry_jitter=True,
    max_retries=20,
)
def send_notification_email(self, user_id, message, notice=None):
    """Mail a message to a user, once for all tasks about the same notice."""
    user = get_user_model().objects.filter(id=user_id).first()
    if user is None or not user.email:
        logger.warning("No notice for user %s: deleted, or without an address.", user_id)
        return
    # A task that is delivered again, or tried again, keeps its id.
    name = f"{user_id} {notice or self.request.id}"
    key = "notice-" + hashlib.sha256(name.encode()).hexdigest()
    mail = EmailMessage("通知", message, "noreply@example.com", [user.email])
    # The same for every attempt: many mail systems show one of two mails that share it.
    mail.extra_headers["Message-ID"] = f"<{key}@example.com>"
    try:
        with once(key) as to_do:
            if to_do:
                mail.send()
            else:
                logger.info("Notice %s has been mailed already.", name)
    except Busy as busy:
        # Not the end: should that process die, its message may be this one.
        raise self.retry(exc=busy, countdown=1, max_retries=None) from None
    except smtplib.SMTPException as error:
        if not is_final(error):
            raise
        logger.error("No notice for user %s: the mail server refuses it: %s", user_id, error)
