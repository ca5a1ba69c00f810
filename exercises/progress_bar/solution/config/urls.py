from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from config import views

urlpatterns = [
    path("", views.index, name="index"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("chat/", include("chat.urls")),
    path("blog/", include("blog.urls")),
    path("reports/", include("blog.reports.urls")),
]
