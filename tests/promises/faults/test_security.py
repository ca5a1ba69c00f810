"""What attackers try against the finished app."""

import contextlib
import http.client
import re
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import expect

from tests.promises.faults.chat import STEP, copy_step, join, log_in, path_of, say
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import PRODUCTION, Site

SCRIPT = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>\"'"
ESCAPED = "&lt;script&gt;window.owned = 1&lt;/script&gt;"
BEHIND_A_PROXY = PRODUCTION | {"ALLOWED_HOSTS": "127.0.0.1 chat.example.com", "HTTPS": "1"}
# As a proxy in front sends it; uvicorn trusts a proxy on this machine.
HTTPS = {"X-Forwarded-Proto": "https"}


def handshake(server, path, headers, timeout=PATIENCE):
    """Ask for a WebSocket without normalising the path; return the status, None if it only closes."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)) as raw:
        try:
            raw.request("GET", path, headers=upgrade | headers)
            return raw.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            return None


def client(server, user=None, **options):
    """Return an HTTP client with a demo user's session."""
    cookies = {"sessionid": server.site.sessions[user]} if user else {}
    return httpx.Client(base_url=server.url, cookies=cookies, trust_env=False, timeout=PATIENCE, **options)


def in_step(site, code):
    """Run Python with the step's models at hand; return what it prints."""
    return site.run("-c", f"import django; django.setup(); {code}").strip()


# A browser that carries the victim's cookie on another site's page


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        None,
        "file://",
        "http://127.0.0.1.evil.example",
        "http://evil.example#127.0.0.1",
        "http://127.0.0.1@evil.example",
    ],
)
def test_another_sites_page_cannot_speak_as_its_visitor(server, origin):
    """A foreign, null or missing Origin is refused with 403, although the cookie is the victim's."""
    headers = server.site.headers(server.url, "alice")
    assert handshake(server, path_of("room1"), headers) == 101
    theirs = {"Cookie": headers["Cookie"]} | ({"Origin": origin} if origin else {})
    assert handshake(server, path_of("room1"), theirs) == 403


@pytest.mark.parametrize("origin", ["", "//", "javascript:alert(1)", "http://[evil"])
def test_an_origin_that_is_no_address_opens_nothing(server, origin):
    """An Origin without a host is refused, by daphne with 400 and by the app with 403, and the server lives.

    One that can't be parsed at all raises in channels' validator: 500 under uvicorn, refused anyway.
    """
    headers = server.site.headers(server.url, "alice")
    assert handshake(server, path_of("room1"), headers | {"Origin": origin}) in (400, 403, 500)
    assert handshake(server, path_of("room1"), headers) == 101


# Sessions and forms


def test_a_session_that_was_planted_before_login_is_worthless(production):
    """A session key planted in alice's browser doesn't open her session after she logs in."""
    site = production.site
    planted = in_step(
        site,
        "from django.contrib.sessions.backends.db import SessionStore as S;"
        "s = S(); s['planted'] = 1; s.create(); print(s.session_key)",
    )
    with client(production) as http:
        http.cookies.set("sessionid", planted, domain="127.0.0.1")
        assert log_in(http).status_code == 302
        fresh = http.cookies.get("sessionid")
    assert fresh
    assert fresh != planted
    for key, status in ((planted, 403), (fresh, 101)):
        headers = {"Origin": production.url, "Cookie": f"sessionid={key}"}
        assert handshake(production, path_of("room1"), headers) == status


def test_after_logout_the_session_opens_nothing(production):
    """A cookie copied before the logout opens no page and no socket after it."""
    with client(production) as http:
        log_in(http)
        copied = http.cookies.get("sessionid")
        token = http.cookies.get("csrftoken")
        assert http.post("/logout/", data={"csrfmiddlewaretoken": token}).status_code == 302
    headers = {"Origin": production.url, "Cookie": f"sessionid={copied}"}
    assert handshake(production, path_of("room1"), headers) == 403


FORMS = {
    "/login/": {"username": "alice", "password": "alice-demo-pass"},
    "/logout/": {},
    "/blog/new/": {"title": "forged", "body": "forged"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("token", [None, "x" * 64, "its own"])
def test_every_form_refuses_a_post_from_another_site(production, form, token):
    """Login, logout and a new post answer 403 and do nothing, without the page's own token and with it."""
    with client(production, "alice") as http:
        http.get("/login/")
        tokens = {"csrfmiddlewaretoken": http.cookies["csrftoken"] if token == "its own" else token}
        data = FORMS[form] | (tokens if token else {})
        origin = "https://evil.example" if token == "its own" else production.url
        answer = http.post(form, data=data, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "sessionid" not in answer.cookies
        assert "forged" not in http.get("/blog/").text
        assert http.get("/chat/").status_code == 200


def test_there_are_no_other_forms_that_post():
    """The list of forms above is complete: it has every template with a post form."""
    posting = [path.name for path in STEP.rglob("*.html") if 'method="post"' in path.read_text()]
    assert sorted(posting) == ["base.html", "create_post.html", "login.html"]


# Script injection


async def test_no_script_runs_from_what_people_type(site, production, open_page):
    """In a room's name, message, post and user name, markup is text, even without the browser's policy."""
    session = in_step(
        site,
        "from django.contrib.auth.models import User; from blog.models import Post;"
        "from django.contrib.sessions.backends.db import SessionStore as S;"
        "from django.contrib.auth import login; from django.http import HttpRequest;"
        f"name = {SCRIPT!r}; user = User.objects.create_user(name, password='x');"
        "Post.objects.create(author=user, title=name, body=name);"
        "request = HttpRequest(); request.session = S(); login(request, user); request.session.save();"
        "print(request.session.session_key)",
    )
    site.sessions["mallory"] = session
    room = f"{production.url}/chat/room/?{urlencode({'name': SCRIPT})}"
    # Without the policy, so that only the escaping protects the page.
    pages = [
        await open_page(address, "mallory", bypass_csp=True)
        for address in (room, f"{production.url}/blog/", f"{production.url}/chat/room/?name={'x' * 101}")
    ]
    chat, blog, _ = pages
    await expect(chat.get_by_role("status")).to_have_text("Connected.")
    async with join(production, SCRIPT, "mallory") as socket:
        await say(socket, SCRIPT)
        await expect(chat.get_by_role("log").locator("p")).to_have_text([f"{SCRIPT}: {SCRIPT}"])
    await expect(chat.get_by_role("heading")).to_have_text(SCRIPT)
    await expect(blog.get_by_role("heading").nth(1)).to_have_text(SCRIPT)
    for page in pages:
        # A failed image would have called its onerror before a later script runs.
        assert (
            await page.evaluate("() => new Promise(done => setTimeout(() => done(window.owned), 0))") is None
        )
        assert await page.locator("main script:not([src]), main img, header img").count() == 0
    async with httpx.AsyncClient(cookies={"sessionid": session}, trust_env=False) as http:
        for address in (room, f"{production.url}/blog/"):
            html = (await http.get(address)).text
            assert ESCAPED in html
            assert "<script>window" not in html


async def test_the_policy_would_stop_a_script_too(production, open_page):
    """If a script got into a page anyway, the browser would refuse to run it."""
    page = await open_page(f"{production.url}/login/", None)
    await page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.owned = 1';"
        " document.body.append(s); }"
    )
    assert await page.evaluate("window.owned") is None


# Paths, headers and frames

PATHS = {
    "parent": "/ws/chat/../",
    "encoded parent": "/ws/chat/%2e%2e/",
    "parents": "/ws/chat/../../login/",
    "double slash": "/ws/chat///",
    "only slashes": "//////",
    "zero byte": "/ws/chat/%00/",
    "newline": "/ws/chat/a%0aINFO%20forged/",
    "carriage return": "/ws/chat/a%0d%0aX-Forged:%201/",
    "not UTF-8": "/ws/chat/%ff%fe/",
    "half an escape": "/ws/chat/%/",
    "encoded twice": "/ws/chat/%252e%252e/",
    "very long": "/ws/chat/" + "x" * 7_000 + "/",
    "another host": "http://evil.example/ws/chat/room1/",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_trick_in_a_rooms_path_leads_nowhere(server, path):
    """A path with dots, slashes, zero bytes or newlines is a room like any other or refused, not an error."""
    before = len(server.output)
    status = handshake(server, path, server.site.headers(server.url, "alice"))
    assert status in (101, 400, 403, 404, 414)
    assert handshake(server, path_of("room1"), server.site.headers(server.url, "alice")) == 101
    log = server.output[before:]
    assert "Traceback" not in log
    assert not re.search(r"^INFO forged", log, re.MULTILINE)


OVERSIZED = {"X-Long": "x" * 100_000, "Cookie": "sessionid=" + "x" * 100_000}
REFUSALS = (400, 413, 431, None)


@pytest.mark.parametrize("name", OVERSIZED)
def test_oversized_headers_of_a_page_are_refused(server, name):
    """1 MB of headers is refused before it reaches the app, and the server lives.

    uvicorn's limit of 64 KiB counts only incomplete headers, so up to 256 KiB in one read pass.
    """
    with client(server) as http:
        # A connection that closes without an answer is a refusal as well.
        with contextlib.suppress(httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            assert http.get("/", headers={name: "x" * 1_000_000}).status_code in REFUSALS
        assert http.get("/").status_code == 200


@pytest.mark.parametrize("name", OVERSIZED)
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        pytest.param(
            "uvicorn",
            marks=pytest.mark.xfail(
                raises=TimeoutError,
                strict=True,
                reason="uvicorn does not answer a handshake with a header above 8 KiB, and holds it open",
            ),
        ),
    ],
)
def test_oversized_headers_of_a_handshake_are_refused(site, kind, name):
    """A handshake with 100 kB of headers is refused."""
    server = site.shared_server(kind)
    # No patience for an answer that never comes: a slow one then counts as a gap, and nothing as a failure.
    timeout = PATIENCE if kind == "daphne" else 1
    assert (
        handshake(server, path_of("room1"), {"Origin": server.url, name: OVERSIZED[name]}, timeout)
        in REFUSALS
    )


@pytest.mark.parametrize("name", OVERSIZED)
def test_a_handshake_with_oversized_headers_opens_nothing(server, name):
    """Whatever the answer, it reaches no consumer, and the next handshake works as ever."""
    good = server.site.headers(server.url, "alice")
    with contextlib.suppress(TimeoutError):
        assert handshake(server, path_of("room1"), good | {name: OVERSIZED[name]}, 1) != 101
    assert handshake(server, path_of("room1"), good) == 101


# Production


@pytest.fixture(scope="module")
def live(site, tmp_path_factory):
    """The finished app as in production, with a view that raises."""
    crash = 'path("", views.index, name="index"),'
    step = copy_step(
        tmp_path_factory.mktemp("live"),
        {"config/urls.py": {crash: f'{crash}\n    path("crash/", lambda request: 1 / 0),'}},
    )
    with Site(step, site.env["REDIS_URL"], BEHIND_A_PROXY) as live:
        yield live.shared_server("uvicorn")


ERRORS = {
    404: ("GET", "/nothing/here/", {}),
    400: ("GET", "/", {"Host": "evil.example"}),
    403: ("POST", "/login/", {}),
    500: ("GET", "/crash/", {}),
}


@pytest.mark.parametrize("status", ERRORS)
def test_an_error_page_leaks_nothing(live, status):
    """404, 400, 403 and 500 say that it went wrong, and nothing of the code, the settings or the machine."""
    method, path, headers = ERRORS[status]
    with client(live) as http:
        answer = http.request(method, path, headers=HTTPS | headers)
    assert answer.status_code == status
    for leak in (
        "Traceback",
        "ZeroDivisionError",
        "settings",
        "urlpatterns",
        "Django Version",
        "site-packages",
        PRODUCTION["SECRET_KEY"],
        str(live.site.step),
        "nothing/here",
    ):
        assert leak not in answer.text, leak
    if status == 500:
        live.wait_for_output("ZeroDivisionError: division by zero")
        assert "Traceback" in live.output


@pytest.mark.parametrize(
    "path",
    [
        "/static/../config/settings.py",
        "/static/%2e%2e/config/settings.py",
        "/static/..%2fconfig/settings.py",
        "/static/chat/../../config/settings.py",
        "/static//etc/passwd",
        "/static/%00",
        "/manage.py",
        "/db.sqlite3",
    ],
)
def test_static_files_lead_to_no_other_file(live, path):
    """No path under /static/ reaches the code, the database or the machine."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", live.port, timeout=PATIENCE)) as raw:
        raw.request("GET", path, headers=HTTPS)
        answer = raw.getresponse()
        body = answer.read().decode(errors="replace")
    assert answer.status in (400, 404)
    assert "ImproperlyConfigured(" not in body
    assert "root:" not in body


def test_the_headers_of_production(live):
    """Every page comes with a policy, HSTS and protection against framing, sniffing and referrers."""
    with client(live) as http:
        headers = http.get("/login/", headers=HTTPS).headers
        plain = http.get("/login/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    transport = headers["Strict-Transport-Security"]
    assert int(re.search(r"max-age=(\d+)", transport)[1]) >= 31_536_000
    assert "includeSubDomains" in transport
    others = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    assert {name: headers[name] for name in others} == others
    assert plain.status_code == 301
    assert plain.headers["Location"].startswith("https://")


def test_the_cookies_of_production(live):
    """The session's cookie is for HTTPS only and out of every script's reach; the token's for HTTPS only."""
    with client(live) as http:
        page = http.get("/login/", headers=HTTPS)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
        cookie = re.match(r"csrftoken=\w+", page.headers["Set-Cookie"])[0]
        headers = HTTPS | {"Cookie": cookie, "Referer": f"{live.url}/login/".replace("http:", "https:")}
        form = {"csrfmiddlewaretoken": token, "username": "alice", "password": "alice-demo-pass"}
        answer = http.post("/login/", data=form, headers=headers)
    assert answer.status_code == 302
    assert "Secure" in page.headers["Set-Cookie"]
    session = next(line for line in answer.headers.get_list("Set-Cookie") if line.startswith("sessionid="))
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(session.split("; "))
