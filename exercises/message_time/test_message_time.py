"""Exercise: every message has its time, in the reader's zone and language."""

import re
from datetime import datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect


@pytest.fixture
def enter(open_page, site):
    """Open a room in a new browser with a time zone and a language, and wait until it is connected."""
    server = site.shared_server("runserver")

    async def enter(user, zone, language):
        address = f"{server.url}/chat/room/?{urlencode({'name': '時刻'})}"
        page = await open_page(address, user, timezone_id=zone, locale=language)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    return enter


async def test_each_message_has_its_time_in_the_readers_own_zone_and_language(enter):
    """A <time> beside each message: 21:05 in Tokyo is 07:05 AM in New York. The text stays as it is."""
    alice = await enter("alice", "Asia/Tokyo", "ja-JP")
    bob = await enter("bob", "America/New_York", "en-US")
    await alice.get_by_role("button", name="Send").click()
    for page, zone, shape in [(alice, "Asia/Tokyo", "%H:%M"), (bob, "America/New_York", "%I:%M %p")]:
        log = page.get_by_role("log")
        await expect(log.locator("p")).to_have_text(["alice: こんにちは!"])
        times = log.locator("time")
        assert await times.count() == 1, "There is no <time> in the log, or more than one for a message."
        stamp = await times.get_attribute("datetime")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", stamp or ""), (
            f"datetime is {stamp!r}."
        )
        moment = datetime.fromisoformat(stamp)
        assert abs(datetime.now(ZoneInfo("UTC")) - moment) < timedelta(minutes=1)
        shown = (await times.inner_text()).replace("\u202f", " ")
        assert shown == moment.astimezone(ZoneInfo(zone)).strftime(shape)


async def test_the_time_stands_beside_the_text_without_an_inline_style(enter):
    """The time is to the left of the text, and no style is written into the page: production forbids it."""
    alice = await enter("alice", "Asia/Tokyo", "ja-JP")
    await alice.get_by_role("button", name="Send").click()
    line = alice.get_by_role("log").locator("p")
    await expect(line).to_have_count(1)
    assert await alice.get_by_role("log").locator("time").count() == 1
    assert await alice.locator("[style], style").count() == 0, "A style is written into the page."
    time, text = await alice.get_by_role("log").locator("time").bounding_box(), await line.bounding_box()
    assert time["x"] + time["width"] <= text["x"], "The time is not to the left of the message."
    assert abs(time["y"] - text["y"]) < text["height"]
