from django.urls import path

from blog.reports import views

app_name = "reports"

urlpatterns = [
    path("", views.index, name="index"),
    path("<int:report_id>/", views.report, name="report"),
]
