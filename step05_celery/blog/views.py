from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.shortcuts import redirect, render
from kombu.exceptions import OperationalError

from blog.forms import PostForm
from blog.models import Post
from blog.tasks import send_notification_email

NOTICE = "A notice about it is on its way to you by mail."
NO_ADDRESS = "Your account has no address to send a notice to."


def post_list(request):
    """Show the latest posts."""
    return render(request, "blog/post_list.html", {"posts": Post.objects.select_related("author")[:50]})


@login_required
def create_post(request):
    """Publish a post and leave the notice about it to a worker."""
    form = PostForm(request.POST or None)
    if not form.is_valid():
        return render(request, "blog/create_post.html", {"form": form})
    form.instance.author = request.user
    try:
        with transaction.atomic():
            form.save()
            # On commit: a worker must not look for a post that is not there yet, or never will be.
            send_notification_email.delay_on_commit(request.user.id, "記事が公開されました")
        messages.success(request, "Published. " + (NOTICE if request.user.email else NO_ADDRESS))
    except OperationalError:
        messages.warning(
            request, "Published, but the notice may not have been queued: the broker does not answer."
        )
    return redirect("blog:post_list")
