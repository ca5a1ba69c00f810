"""What a worker does in the background."""

import logging
import smtplib

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.db import OperationalError

logger = logging.getLogger(__name__)


def is_final(error):
    """Tell whether a mail server has refused for good, with a code of 500 or more, or only for now."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return getattr(error, "smtp_code", 0) >= 500


@shared_task(
    # Every error of smtplib or of a socket is an OSError. Tried again after up to 1, 2, 4 … 60 s.
    autoretry_for=(OSError, OperationalError, SoftTimeLimitExceeded),
    retry_backoff=True,
    retry_backoff_max=60,
    max_retries=20,
)
def send_notification_email(user_id, message):
    """Mail a message to a user."""
    user = get_user_model().objects.filter(id=user_id).first()
    if user is None or not user.email:
        logger.warning("No notice for user %s: deleted, or without an address.", user_id)
        return
    try:
        send_mail("通知", message, "noreply@example.com", [user.email])
    except smtplib.SMTPException as error:
        if not is_final(error):
            raise
        logger.error("No notice for user %s: the mail server refuses it: %s", user_id, error)
