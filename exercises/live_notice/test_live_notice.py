"""Exercise: the page shows when the worker's mail has gone out."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from channels.layers import channel_layers
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from blog.tasks import send_notification_email
from tutorial.services.processes import patience, wait_until
from tutorial.testing.site import Worker

NOTICE = "記事が公開されました"
PATIENCE = 60  # seconds; the machine may be busy


@pytest.fixture(scope="module")
def web(site):
    """The step, served by runserver."""
    return site.shared_server("runserver")


@pytest.fixture(scope="module")
def worker(site, mail_server):
    """A real worker that sends through a real SMTP server."""
    with Worker(site, env=mail_server.env, arguments=("--without-mingle",)) as worker:
        yield worker.start(PATIENCE)


@pytest.fixture
def mail(mail_server):
    """The mail server, which takes every mail and has none yet."""
    yield mail_server
    mail_server.reset()


@pytest.fixture
def listen(site, web):
    """Open a user's socket for notices."""

    @asynccontextmanager
    async def listen(user):
        address, headers = web.websocket_url("/ws/notices/"), site.headers(web.url, user)
        try:
            socket = await connect(address, additional_headers=headers, proxy=None)
        except InvalidStatus as refusal:
            pytest.fail(f"{user} cannot open a WebSocket at /ws/notices/: {refusal}")
        async with socket:
            yield socket

    return listen


async def hear(socket, seconds=PATIENCE):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(seconds):
            return json.loads(await socket.recv())
    except TimeoutError:
        pytest.fail(f"No frame came within {seconds:.0f} s.")


async def heard(socket):
    """Return the frames so far: those before the answer to a frame that makes no sense."""
    await socket.send("{}")
    frames = []
    while "error" not in (frame := await hear(socket)):
        frames.append(frame)
    return frames


async def test_the_notice_comes_when_the_mail_has_gone_out_and_only_to_its_user(listen, site, worker, mail):
    """{"notice": id, "text": …} comes after the mail, to the user it was sent to and to nobody else."""
    async with listen("alice") as alice, listen("bob") as bob:
        mail.stall.clear()
        send_notification_email.delay(site.user_ids["alice"], NOTICE)
        await asyncio.to_thread(wait_until, lambda: mail.attempts, PATIENCE, "the worker's mail")
        assert await heard(alice) == [], "A notice came before the mail server had taken the mail."
        mail.stall.set()
        frame = await hear(alice)
        assert NOTICE in frame["text"]
        assert len(mail.messages) == 1
        assert await heard(bob) == []


async def test_a_mail_that_is_refused_brings_no_notice(listen, site, worker, mail):
    """When the mail server refuses a mail for good, no page says that it went out."""
    async with listen("alice") as alice:
        await heard(alice)
        mail.refusal = "550 no such mailbox"
        task = send_notification_email.delay(site.user_ids["alice"], NOTICE)
        await asyncio.to_thread(worker.wait_for_output, f"{task.id}] succeeded", PATIENCE)
        assert await heard(alice) == []


async def test_nobody_dismisses_the_notice_of_another(listen, site, worker, mail):
    """Bob's {"dismiss": id} for one of alice's notices changes nothing; alice's own removes it."""
    async with listen("alice") as alice, listen("bob") as bob:
        await heard(alice)
        send_notification_email.delay(site.user_ids["alice"], NOTICE)
        frame = await hear(alice)
        for socket, still_there in [(bob, True), (alice, False)]:
            await socket.send(json.dumps({"dismiss": frame["notice"]}))
            await heard(socket)
            async with listen("alice") as reloaded:
                assert (frame in await heard(reloaded)) == still_there


@pytest.mark.parametrize(
    "frame",
    ["not JSON", "[]", '{"dismiss": "1"}', '{"dismiss": 0}', f'{{"dismiss": {2**63}}}', b"\x00"],
)
async def test_a_bad_frame_is_answered_and_the_socket_lives(listen, frame):
    """A frame that dismisses nothing gets {"error": …}, and the socket stays open."""
    async with listen("bob") as bob:
        await bob.send(frame)
        assert "error" in await hear(bob, patience(5))
        await heard(bob)


@pytest.mark.parametrize("fault", [{"user": None}, {"origin": "http://evil.example"}])
async def test_strangers_are_refused(site, web, listen, fault):
    """A socket without a login, or opened by another site's page, is refused with 403."""
    async with listen("alice"):
        pass
    headers = site.headers(fault.get("origin", web.url), fault.get("user", "alice"))
    with pytest.raises(InvalidStatus) as refusal:
        await connect(web.websocket_url("/ws/notices/"), additional_headers=headers, proxy=None)
    assert refusal.value.response.status_code == 403


@pytest.mark.django_db
def test_a_channel_layer_that_fails_sends_no_second_mail(
    settings, mailoutbox, django_user_model, unused_port
):
    """With the channel layer down the task still succeeds: a task that fails would mail again."""
    user = django_user_model.objects.create_user("花子", "hanako@example.com")
    address = f"redis://127.0.0.1:{unused_port}"
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [address]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    channel_layers.backends.clear()
    send_notification_email.run(user.pk, NOTICE)
    assert len(mailoutbox) == 1


async def test_the_page_shows_the_notice_until_it_is_dismissed(open_page, listen, site, web, worker, mail):
    """Alice's page says, without a reload, that the mail of her post is out; bob's page shows nothing."""
    async with listen("alice") as socket:  # remove the notices of the other tests
        for frame in await heard(socket):
            await socket.send(json.dumps({"dismiss": frame["notice"]}))
        await heard(socket)
    alice, bob = await open_page(f"{web.url}/blog/new/", "alice"), await open_page(f"{web.url}/blog/", "bob")
    mail.stall.clear()
    await alice.get_by_label("Title").fill("記事")
    await alice.get_by_label("Body").fill("本文")
    await alice.get_by_role("button", name="Publish").click()
    await expect(alice.get_by_role("heading", name="Posts")).to_be_visible()
    notices = alice.get_by_role("region", name="Notices")
    await expect(notices).to_have_attribute("aria-live", "polite")
    await expect(notices.locator("p")).to_have_count(0)
    mail.stall.set()
    await expect(notices.locator("p")).to_contain_text([NOTICE])

    await bob.goto(web.url)  # alice needs no open page when the mail goes out
    await alice.goto("about:blank")
    markup = "<img src=x onerror=\"document.title = 'owned'\">"
    send_notification_email.delay(site.user_ids["alice"], markup)
    await asyncio.to_thread(mail.wait_for, 2)
    await alice.goto(web.url)
    await expect(notices.locator("p").last).to_contain_text(markup)
    await notices.get_by_role("button", name="Dismiss").last.click()
    await expect(notices.locator("p")).to_have_count(1)
    await alice.reload()
    await expect(notices.locator("p")).to_contain_text([NOTICE])
    await expect(bob.get_by_role("region", name="Notices").locator("p")).to_have_count(0)
