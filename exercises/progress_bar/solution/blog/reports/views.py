from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render
from kombu.exceptions import OperationalError

from blog.models import Post
from blog.reports.models import Report
from blog.reports.tasks import work_on


@login_required
def index(request):
    """Offer a report; begin it when the button is pressed."""
    total = Post.objects.filter(author=request.user).count()
    if request.method != "POST" or not total:
        return render(request, "reports/index.html", {"total": total})
    try:
        with transaction.atomic():
            report = Report.objects.create(owner=request.user, total=total)
            work_on.delay_on_commit(report.pk)
    except OperationalError:
        messages.warning(request, "The count cannot begin: the broker does not answer. Try again later.")
        return redirect("reports:index")
    return redirect("reports:report", report.pk)


@login_required
def report(request, report_id):
    """Show its owner how far a report is."""
    found = get_object_or_404(Report, pk=report_id, owner=request.user)
    return render(request, "reports/report.html", {"report": found})
