"""Exercise: the log shows each day once, by its reader's own calendar."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

BEFORE, AFTER = "2026-01-05T14:30:00Z", "2026-01-05T15:30:00Z"  # midnight in Tokyo is between them


@pytest.fixture
def enter(open_page, site):
    """Open a room in a new browser with a time zone and a language, and wait until it is connected."""
    server = site.shared_server("runserver")

    async def enter(user, zone, language):
        address = f"{server.url}/chat/room/?{urlencode({'name': '日付'})}"
        page = await open_page(address, user, timezone_id=zone, locale=language)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    return enter


async def days(page):
    """Return the days in the log: for programs, and for people."""
    times = await page.get_by_role("log").locator("time").all()
    return [(await time.get_attribute("datetime"), await time.inner_text()) for time in times]


async def test_each_day_is_shown_once_by_the_readers_own_calendar(enter):
    """Between 14:30 and 15:30 UTC a new day begins in Tokyo, and none in New York. No message changes."""
    alice = await enter("alice", "Asia/Tokyo", "ja-JP")
    bob = await enter("bob", "America/New_York", "en-US")
    for count, moment in enumerate((BEFORE, BEFORE, AFTER, AFTER), 1):
        for page in alice, bob:
            await page.clock.set_fixed_time(moment)
        await alice.get_by_label("Message").fill(f"message {count}")
        await alice.get_by_role("button", name="Send").click()
        for page in alice, bob:
            await expect(page.get_by_role("log").locator("p")).to_have_count(count)
    assert await days(alice) == [("2026-01-05", "2026年1月5日月曜日"), ("2026-01-06", "2026年1月6日火曜日")]
    assert await days(bob) == [("2026-01-05", "Monday, January 5, 2026")]
    tags = "log => [...log.querySelectorAll('p, time')].map((line) => line.localName).join(' ')"
    assert await alice.get_by_role("log").evaluate(tags) == "time p p time p p"


async def test_a_day_is_in_the_middle_without_an_inline_style(enter):
    """The day is centred, and no style is written into the page: production forbids it."""
    alice = await enter("alice", "Asia/Tokyo", "ja-JP")
    await alice.get_by_role("button", name="Send").click()
    await expect(alice.get_by_role("log").locator("p")).to_have_count(1)
    assert await alice.get_by_role("log").locator("time").count() == 1
    assert await alice.locator("[style], style").count() == 0, "A style is written into the page."
    day = await alice.get_by_role("log").locator("time").bounding_box()
    log = await alice.get_by_role("log").bounding_box()
    assert abs(day["x"] + day["width"] / 2 - log["x"] - log["width"] / 2) < 20, "The day isn't in the middle."
