"""Step 4: people chat in real browsers."""

import re
from urllib.parse import quote, urlencode

import pytest
from django.urls import reverse
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


def room_url(server, room="room1"):
    """Return the address of a room's page."""
    return f"{server.url}/chat/room/?{urlencode({'name': room})}"


@pytest.fixture
def web(site):
    """The step, served by runserver, which serves the static files too."""
    return site.shared_server("runserver")


@pytest.fixture
def enter(open_page, web):
    """Open a room in a new browser as a user, and wait until it is connected."""

    async def enter(user="alice", room="room1", server=web, **options):
        page = await open_page(room_url(server, room), user, **options)
        await expect(page.get_by_role("status")).to_contain_text("Connected.")
        return page

    return enter


async def say(page, message):
    """Write a message and press the button."""
    await page.get_by_label("Message").fill(message)
    await page.get_by_role("button", name="Send").click()


def messages(page):
    """Return the lines in the log."""
    return page.get_by_role("log").locator("p")


async def let_time_fly(page):
    """Let the page's timers run 100 times as fast, and note their delays."""
    await page.evaluate("""() => {
        window.delays = [];
        const wait = window.setTimeout.bind(window);
        window.setTimeout = (callback, delay) => { delays.push(delay); return wait(callback, delay / 100); };
    }""")


async def test_two_people_chat(enter):
    """What alice sends, bob reads at once, and the other way round; another room hears nothing."""
    alice, bob, eve = await enter("alice"), await enter("bob"), await enter("bob", "attic")
    await alice.get_by_role("button", name="Send").click()
    await expect(messages(bob)).to_have_text(["alice: こんにちは!"])
    await say(bob, "はい、こんにちは 🎉")
    await expect(messages(alice)).to_have_text(["alice: こんにちは!", "bob: はい、こんにちは 🎉"])
    await say(eve, "nobody here")
    await expect(messages(eve)).to_have_text(["bob: nobody here"])


@pytest.mark.parametrize("room", ["a/b?c#d&e", "日本語の部屋", "<b>bold</b>", "100%"])
async def test_any_room_name_works_in_the_browser(enter, room):
    """Whatever a room is called, its page and its socket belong together."""
    alice, bob = await enter("alice", room), await enter("bob", room)
    await expect(alice.get_by_role("heading")).to_have_text(room)
    await say(alice, "hello")
    await expect(messages(bob)).to_have_text(["alice: hello"])


async def test_markup_stays_text(enter):
    """HTML in a message or a room's name is shown as it was typed, and no script of it runs."""
    attack = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    alice, bob = await enter("alice", f'"{attack[:90]}'), await enter("bob", f'"{attack[:90]}')
    await say(alice, attack)
    await expect(messages(bob)).to_have_text([f"alice: {attack}"])
    assert await bob.locator("main img, main p script").count() == 0
    assert await bob.title() != "owned"


async def test_what_was_typed_while_disconnected_is_sent_once(site, enter):
    """When the server goes away the page says so, tries again by itself, and sends once what was typed."""
    server = site.server("runserver")
    alice = await enter(server=server)
    state = alice.get_by_role("status")
    server.stop()
    await expect(state).to_contain_text("Connection lost")
    await let_time_fly(alice)
    await say(alice, "typed meanwhile")
    await say(alice, "この間に書いた")
    await expect(state).to_contain_text("Not sent yet: 2.")
    server.start()
    await expect(state).to_have_text("Connected.")
    await say(alice, "typed afterwards")
    await expect(messages(alice)).to_have_text(
        ["alice: typed meanwhile", "alice: この間に書いた", "alice: typed afterwards"]
    )


async def test_the_delay_grows_up_to_a_limit_and_is_random(site, enter):
    """Each failed attempt doubles the longest delay, up to 5 s; the delay is a random part of it."""
    server = site.server("runserver")
    alice = await enter(server=server)
    await let_time_fly(alice)
    await alice.evaluate("() => { Math.random = () => 1; }")
    server.stop()
    await alice.wait_for_function("delays.length >= 6")
    assert (await alice.evaluate("delays"))[:6] == [500, 1000, 2000, 4000, 5000, 5000]
    await alice.evaluate("() => { Math.random = () => 0.5; delays.length = 0; }")
    await alice.wait_for_function("delays.length >= 1")
    assert (await alice.evaluate("delays"))[0] == 2500


@pytest.mark.parametrize(("page_scheme", "socket_scheme"), [("http", "ws"), ("https", "wss")])
async def test_the_scheme_follows_the_page(open_page, web, page_scheme, socket_scheme):
    """A page loaded over HTTPS opens wss:, one loaded over HTTP opens ws:."""
    page = await open_page(room_url(web, "日本"), "alice")
    html = await page.content()
    script = await (await page.request.get(f"{web.url}/static/chat/room.js")).text()
    origin = f"{page_scheme}://chat.example.com"

    async def answer(route):
        if route.request.url.endswith("room.js"):
            await route.fulfill(body=script, content_type="text/javascript")
        elif route.request.url == f"{origin}/":
            await route.fulfill(body=html, content_type="text/html")
        else:
            await route.fulfill(body="")

    await page.route("**/*", answer)
    opened = []
    await page.route_web_socket(re.compile(".*"), lambda socket: opened.append(socket.url))
    await page.goto(f"{origin}/")
    await expect(page.get_by_role("status")).to_have_text("Connected.")
    assert opened == [f"{socket_scheme}://chat.example.com/ws/chat/{quote('日本')}/"]


async def test_the_enter_that_ends_a_composition_sends_nothing(enter):
    """Choosing Japanese characters with Enter leaves the message in the field; the next Enter sends it."""
    alice = await enter()
    field = alice.get_by_label("Message")
    await field.fill("")
    keyboard = await alice.context.new_cdp_session(alice)
    await keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    # What a browser reports for an Enter that the input method takes: key code 229.
    for kind in ("rawKeyDown", "keyUp"):
        event = {"type": kind, "key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229}
        await keyboard.send("Input.dispatchKeyEvent", event)
    await keyboard.send("Input.insertText", {"text": "日本"})
    await expect(field).to_have_value("日本")
    await expect(messages(alice)).to_have_count(0)
    await alice.keyboard.press("Enter")
    await expect(messages(alice)).to_have_text(["alice: 日本"])
    await expect(field).to_have_value("")


async def test_an_error_from_the_server_is_shown(enter):
    """When the server refuses a message, the page shows the reason in the log."""
    alice = await enter()
    await alice.get_by_label("Message").evaluate("field => field.removeAttribute('pattern')")
    await say(alice, "字" * 1366)
    await expect(messages(alice)).to_contain_text(["The message is too long"])


async def test_a_line_says_whose_it_is_and_when_it_came(enter):
    """Your own lines are on the right, the others' on the left; each has the time in the reader's zone."""
    alice = await enter("alice", "時刻", timezone_id="Asia/Tokyo", locale="ja-JP")
    bob = await enter("bob", "時刻", timezone_id="America/New_York", locale="en-US")
    for page in alice, bob:
        await page.clock.set_fixed_time("2026-01-05T12:05:09Z")
    await say(alice, "what time is it?")
    await expect(messages(bob)).to_have_count(1)
    await say(bob, "about noon, somewhere")
    for page, own, time, exact in (alice, 0, "21:05", "21:05:09"), (bob, 1, "7:05 AM", "7:05:09 AM"):
        await expect(messages(page)).to_have_count(2)
        boxes = [await messages(page).nth(index).bounding_box() for index in range(2)]
        log = await page.get_by_role("log").bounding_box()
        indented = [box["x"] > log["x"] + 50 for box in boxes]
        assert indented[own], "your own line is on the left"
        assert not indented[1 - own], "the other's line is on the right"
        shown = await messages(page).first.evaluate("line => getComputedStyle(line, '::after').content")
        assert shown.replace("\u202f", " ") == f'"{time}"'
        assert exact in (await messages(page).first.get_attribute("title")).replace("\u202f", " ")


async def test_a_new_line_leaves_a_reader_who_looks_back_where_they_are(enter):
    """Further up in a long talk you read on undisturbed; a button counts the new lines and leads to them."""
    alice, bob = await enter("alice"), await enter("bob")
    for count in range(1, 31):
        await say(bob, f"line {count}")
    last = messages(alice).last
    await expect(last).to_have_text("bob: line 30")
    await expect(last).to_be_in_viewport()  # a reader at the end follows
    await messages(alice).first.scroll_into_view_if_needed()
    for text in "are you there?", "alice?":
        await say(bob, text)
    newer = alice.get_by_role("button", name="2 new")
    await expect(newer).to_be_visible()
    await expect(messages(alice).first).to_be_in_viewport()
    await newer.click()
    await expect(newer).to_be_hidden()
    await expect(last).to_be_in_viewport()
    await expect(alice.get_by_label("Message")).to_be_focused()
    await messages(alice).first.scroll_into_view_if_needed()
    await say(alice, "here")
    await expect(last).to_be_in_viewport()  # you follow what you say yourself


async def test_a_paste_that_is_too_long_stays_whole(enter):
    """A text of more than 1,000 characters isn't cut off or sent: the page says that it is too long."""
    alice = await enter()
    field, warning = alice.get_by_label("Message"), alice.get_by_text("Too long")
    await expect(warning).to_be_hidden()
    await say(alice, "字" * 1001)
    await expect(warning).to_be_visible()
    await expect(field).to_have_value("字" * 1001)
    await expect(messages(alice)).to_have_count(0)
    await say(alice, "字" * 1000)
    await expect(messages(alice)).to_have_text([f"alice: {'字' * 1000}"])
    await expect(warning).to_be_hidden()


async def test_the_menu_marks_where_you_are(enter, open_page, web):
    """The link to the page you are on, or to the part it belongs to, is marked for eye and screen reader."""
    home, room = await open_page(f"{web.url}/", "alice"), await enter()
    for page, name in (home, "Real-time Django"), (room, "Chat"):
        await expect(page.locator("nav [aria-current]")).to_have_text([name])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_the_page_fits_narrow_and_wide_screens(enter, width, scheme):
    """At 360 pixels nothing runs out of the page, however long the words are, and the input is wide."""
    alice = await enter(room="部屋" * 40, viewport={"width": width, "height": 640}, color_scheme=scheme)
    await say(alice, "x" * 300)
    await expect(messages(alice)).to_have_count(1)
    assert await alice.evaluate("document.documentElement.scrollWidth") <= width
    assert (await alice.get_by_label("Message").bounding_box())["width"] >= 240


async def test_the_keyboard_is_enough(open_page, web):
    """Log in, enter a room, write, and read the conversation without a mouse."""
    page = await open_page(f"{web.url}/chat/")
    await expect(page.get_by_label("Username")).to_be_focused()
    await page.keyboard.type("alice")
    await page.keyboard.press("Tab")
    await page.keyboard.type("alice-demo-pass")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading")).to_have_text("Choose a room")
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.name") == "name":
            break
    await page.keyboard.type("キーボード")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading")).to_have_text("キーボード")
    await expect(page.get_by_role("status")).to_have_text("Connected.")
    await expect(page.get_by_label("Message")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(messages(page)).to_have_text(["alice: こんにちは!"])
    await page.keyboard.press("Shift+Tab")
    await expect(page.get_by_role("log")).to_be_focused()


async def test_a_visitor_whose_session_has_ended_reads_so(site, enter):
    """When the session has ended, the page says that a login is needed instead of trying in silence."""
    server = site.server("runserver")
    alice = await enter("alice", server=server)
    await alice.context.clear_cookies()
    server.stop()
    server.start()
    await expect(alice.get_by_role("status")).to_contain_text("You are logged out")


async def test_the_logout_button_logs_out(open_page, web):
    """Logging out leads back to the first page, and a room can be entered only after another login."""
    page = await open_page(f"{web.url}/login/")
    await page.get_by_label("Username").fill("bob")
    await page.get_by_label("Password").fill("bob-demo-pass")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading")).to_have_text("Choose a room")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="The channel layer works")).to_be_visible()
    await page.goto(room_url(web))
    await expect(page.get_by_role("heading")).to_have_text("Log in")


async def test_a_socket_without_a_login_is_refused(server, site):
    """Where login exists, a socket without a logged-in user is refused with 403 before it opens."""
    address = server.websocket_url("/ws/chat/room1/")
    forged = {"Cookie": "sessionid=0123456789abcdefghijklmnopqrstuv"}
    for headers in ({}, forged):
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(address, additional_headers=site.headers(server.url) | headers, proxy=None):
                pass
        assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("name", ["", "   ", ".", "..", "x" * 101])
@pytest.mark.django_db
def test_a_name_that_cannot_be_a_room_is_explained(client, django_user_model, name):
    """The form says what is wrong with a room's name instead of opening a room that cannot work."""
    client.force_login(django_user_model.objects.create_user("alice"))
    response = client.get(reverse("chat:room"), {"name": name})
    assert response.status_code == 400
    assert "errorlist" in response.text


@pytest.mark.parametrize("page", ["chat:index", "chat:room"])
def test_the_chat_needs_a_login(client, page):
    """A visitor who isn't logged in is sent to the login page."""
    address = reverse(page)
    assert client.get(address).url == f"/login/?next={address}"
