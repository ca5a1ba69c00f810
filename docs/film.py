"""Make the film of the landing page again: `python docs/film.py`.

Runs the real step 5 in a headless Chromium. Two windows chat, the server is killed and comes back, a post
is published and the mail arrives. Each scene is a picture of what the windows show at that moment.

Writes to docs/static, in light and dark colours: `film.webp`, both windows and about ten seconds long;
`film-narrow.webp`, alice's window for phones; `film-still.webp`, four scenes for those who prefer that
nothing moves; and `card.png`, the picture that other sites show beside a link.
"""

import asyncio
import base64
import html
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright, expect
from screenshots import ROOM, publish, say, window

from tutorial.course.steps import find_step
from tutorial.services.broker import Broker
from tutorial.services.browser import launch_options
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Site

STATIC = Path(__file__).parent / "static"
SCHEMES = {"light": "", "dark": "-dark"}
WIDTH, HEIGHT = 350, 430  # pixels of one window
SCALE = 1.5  # pixels of a picture for each of a page
SECONDS = 1.2  # how long a scene is seen; the last one twice as long
STILLS = ("talk", "down", "back", "mail")
STAGE = """<!doctype html><style>
:root {{ color-scheme: {scheme} }}
body {{ margin: 0; width: max-content; font: 16px system-ui, sans-serif;
  background: light-dark(#e3eae7, #0b0d0f); color: light-dark(#1b2226, #e6eaec) }}
main {{ display: grid; grid-template-columns: repeat({columns}, max-content); gap: 10px; padding: 10px }}
figure {{ margin: 0; border-radius: 8px; overflow: hidden; border: 1px solid #7d8a92 }}
figcaption {{ padding: 3px 10px; font-size: 13px; background: light-dark(#c9d5d0, #2b3238) }}
img {{ display: block; width: {width}px }}
p {{ margin: 0; padding: 6px 10px 10px; font-size: 18px; font-weight: 600; text-align: center;
  width: 0; min-width: calc(100% - 20px) }}
main + p {{ padding-top: 0 }}
</style>{body}"""
MAIL = """<!doctype html><style>
:root {{ color-scheme: {scheme} }}
body {{ margin: 0; padding: 20px; font: 17px/1.6 system-ui, sans-serif;
  background: light-dark(#fff, #14171a); color: light-dark(#1b2226, #e6eaec) }}
h1 {{ font-size: 24px; margin: 8px 0 }}
p {{ white-space: pre-wrap }}
span {{ color: light-dark(#56636b, #a3b0b8) }}
</style><span>From {From}<br>To {To}</span><h1>{Subject}</h1><p>{body}</p>"""


class Film:
    """The scenes, as pictures by colour scheme.

    Args:
        windows: The page of each window, by the name of its user.
    """

    def __init__(self, windows: dict):
        self.windows = windows
        self.scenes: dict[str, tuple[str, dict[str, dict[str, bytes]]]] = {}

    async def take(self, name: str, caption: str) -> None:
        """Take a picture of every window, in both schemes."""
        shots: dict[str, dict[str, bytes]] = {}
        for scheme in SCHEMES:
            shots[scheme] = {}
            for user, page in self.windows.items():
                await page.emulate_media(color_scheme=scheme)
                # After a change of the scheme, a control may be a frame late.
                await page.evaluate(
                    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                shots[scheme][user] = await page.screenshot()
        self.scenes[name] = caption, shots


def windows_html(shots: dict[str, bytes]) -> str:
    """Return the windows of a scene as figures."""
    data = {user: base64.b64encode(shot).decode() for user, shot in shots.items()}
    return "".join(
        f"<figure><figcaption>{user}</figcaption><img src='data:image/png;base64,{picture}'></figure>"
        for user, picture in data.items()
    )


async def play(browser, broker_url: str, mail_server: MailServer) -> Film:
    """Let it happen, and return the scenes."""
    with Site(find_step("5"), broker_url, mail_server.env) as site:
        server = site.server()
        site.worker()
        options = {"device_scale_factor": SCALE}
        film = Film(
            {user: await window(browser, site, user, HEIGHT, WIDTH, **options) for user in ("alice", "bob")}
        )
        alice, bob = film.windows.values()
        for page in alice, bob:
            await page.goto(server.url + ROOM)
            await expect(page.get_by_role("status")).to_have_text("Connected.")
        await film.take("room", "Alice and Bob open the same room.")
        await say(alice, "こんにちは!")
        await expect(bob.locator("#log p")).to_have_count(1)
        await film.take("hello", "What one of them sends …")
        await say(bob, "Hello Alice!")
        await expect(alice.locator("#log p")).to_have_count(2)
        await film.take("talk", "… the other one reads at once.")
        # A message that comes before Bob is back would miss him, so Alice's page is to wait longer than his.
        await alice.evaluate("() => { Math.random = () => 0.99; }")
        await bob.evaluate("() => { Math.random = () => 0.05; }")
        server.kill()
        for page in alice, bob:
            await expect(page.get_by_role("status")).to_contain_text("Connection lost")
        await film.take("killed", "The server is killed.")
        await say(alice, "Still there?")
        await expect(alice.get_by_role("status")).to_contain_text("Not sent yet: 1.")
        await film.take("down", "What Alice types meanwhile waits.")
        server.start()
        for page in alice, bob:
            await expect(page.get_by_role("status")).to_have_text("Connected.")
            await expect(page.locator("#log p")).to_have_count(3)
        await film.take("back", "The server is back, and so are both pages.")
        await publish(alice, server.url, "はじめまして", "これは最初の記事です。")
        await film.take("post", "A post: the page answers at once …")
        [mail] = mail_server.wait_for(1)
        fields = {name: html.escape(mail[name]) for name in ("From", "To", "Subject")}
        body = html.escape(mail.get_content().strip())
        await alice.set_content(MAIL.format(scheme="light dark", body=body, **fields))
        await film.take("mail", "… and a worker sends the mail.")
    return film


async def compose(browser, film: Film) -> None:
    """Write the pictures."""
    page = await (await browser.new_context(device_scale_factor=SCALE)).new_page()

    async def still(scheme: str, columns: int, body: str) -> Image.Image:
        await page.set_content(STAGE.format(scheme=scheme, columns=columns, width=WIDTH, body=body))
        shot = await page.locator("body").screenshot()
        return Image.open(BytesIO(shot)).convert("RGB")

    for scheme, ending in SCHEMES.items():
        wide, narrow = [], []
        for caption, shots in film.scenes.values():
            words = f"<p>{html.escape(caption)}</p>"
            wide.append(await still(scheme, 2, f"<main>{windows_html(shots[scheme])}</main>{words}"))
            alice = {"alice": shots[scheme]["alice"]}
            narrow.append(await still(scheme, 1, f"<main>{windows_html(alice)}</main>{words}"))
        for name, frames in ("film", wide), ("film-narrow", narrow):
            # The heights differ where a caption takes two lines.
            height = max(frame.height for frame in frames)
            frames = [fit(frame, height) for frame in frames]
            long = [round(SECONDS * 1000)] * (len(frames) - 1) + [round(SECONDS * 2000)]
            frames[0].save(
                STATIC / f"{name}{ending}.webp",
                save_all=True,
                append_images=frames[1:],
                duration=long,
                loop=1,
                quality=80,
                method=6,
            )
        body = ""
        for caption, shots in (film.scenes[name] for name in STILLS):
            alice = windows_html({"alice": shots[scheme]["alice"]})
            body += f"<div>{alice}<p>{html.escape(caption)}</p></div>"
        (await still(scheme, 2, f"<main>{body}</main>")).save(
            STATIC / f"film-still{ending}.webp", quality=80, method=6
        )
    talk = film.scenes["talk"][1]["light"]
    card = await still("light", 2, f"<main>{windows_html(talk)}</main>")
    # 1200 by 630 pixels, as sites expect it.
    ground = Image.new("RGB", (1200, 630), card.getpixel((2, 2)))
    card.thumbnail((1200, 630))
    ground.paste(card, ((1200 - card.width) // 2, (630 - card.height) // 2))
    ground.save(STATIC / "card.png", optimize=True)


def fit(frame: Image.Image, height: int) -> Image.Image:
    """Return a frame with its own ground added below, up to a height in pixels."""
    taller = Image.new("RGB", (frame.width, height), frame.getpixel((2, 2)))
    taller.paste(frame)
    return taller


async def main() -> None:
    """Start a broker, a mail server and a browser, and make the film."""
    expect.set_options(timeout=60_000)
    with Broker() as broker, MailServer() as mail_server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**launch_options())
            await compose(browser, await play(browser, broker.url, mail_server))
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
