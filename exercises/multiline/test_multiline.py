"""Exercise: a message of several lines, also in Japanese."""

from urllib.parse import urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect


@pytest.fixture
def enter(open_page, site):
    """Open a room that no other test uses in a new browser, and wait until it is connected."""
    address = f"{site.shared_server('runserver').url}/chat/room/?{urlencode({'name': f'部屋 {uuid4()}'})}"

    async def enter(user="alice"):
        page = await open_page(address, user)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    return enter


def messages(page):
    """Return the lines in the log."""
    return page.get_by_role("log").locator("p")


async def message_field(page):
    """Empty the field for the message and return it; it must take several lines."""
    field = page.get_by_label("Message")
    kind = await field.evaluate("field => field.tagName")
    assert kind == "TEXTAREA", f"The field labelled Message is an <{kind.lower()}>, which has a single line."
    await field.fill("")
    await field.focus()
    return field


async def test_shift_enter_begins_a_line_and_enter_sends(enter):
    """Shift+Enter begins a new line, Enter sends, and everyone sees the lines as you typed them."""
    alice, bob = await enter("alice"), await enter("bob")
    field = await message_field(alice)
    await alice.keyboard.type("一行目")
    await alice.keyboard.press("Shift+Enter")
    await alice.keyboard.type("<b>second</b>")
    await expect(field).to_have_value("一行目\n<b>second</b>")
    await expect(messages(bob)).to_have_count(0)
    await alice.keyboard.press("Enter")
    await expect(messages(bob)).to_have_count(1)
    assert await messages(bob).inner_text() == "alice: 一行目\n<b>second</b>"
    await expect(field).to_have_value("")


async def test_the_enter_that_chooses_characters_sends_nothing(enter):
    """While an input method composes, Enter belongs to it; the next Enter sends."""
    alice = await enter()
    field = await message_field(alice)
    keyboard = await alice.context.new_cdp_session(alice)
    await keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    enters = {
        "Chromium and Firefox: isComposing": {"key": "Enter", "isComposing": True},
        "Safari: key code 229 after the composition": {"key": "Enter", "keyCode": 229},
    }
    for browser, enter in enters.items():
        press = "(field, enter) => field.dispatchEvent(new KeyboardEvent('keydown', enter))"
        await field.evaluate(press, enter | {"bubbles": True, "cancelable": True})
        assert await field.input_value() == "にほん", f"The Enter of an input method was taken ({browser})."
    await keyboard.send("Input.insertText", {"text": "日本"})
    await expect(field).to_have_value("日本")
    await expect(messages(alice)).to_have_count(0)
    await alice.keyboard.press("Enter")
    await expect(messages(alice)).to_have_text(["alice: 日本"])


async def test_the_keys_are_said(enter):
    """The page says which keys do what, and a screen reader reads it with the field."""
    alice = await enter()
    field = await message_field(alice)
    identity = await field.get_attribute("aria-describedby")
    assert identity, "The field has no aria-describedby."
    await expect(alice.locator(f"#{identity}")).to_contain_text("Shift+Enter")


async def test_nothing_is_not_sent(enter):
    """Enter in an empty field, and the button, send nothing."""
    alice = await enter()
    field = await message_field(alice)
    await alice.keyboard.press("Enter")
    await alice.get_by_role("button", name="Send").click()
    await field.fill("something")
    await field.press("Enter")
    await expect(messages(alice)).to_have_text(["alice: something"])
