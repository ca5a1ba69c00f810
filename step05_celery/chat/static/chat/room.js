"use strict";

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 5000; // milliseconds
const LINES_KEPT = 500;

const composer = document.querySelector("#composer");
const input = document.querySelector("#message");
const log = document.querySelector("#log");
const newer = document.querySelector("#newer");
const state = document.querySelector("#state");

// A page loaded over HTTPS may open only wss:, one over HTTP usually has only ws:.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const address = `${scheme}//${location.host}/ws/chat/${encodeURIComponent(composer.dataset.room)}/`;

const outbox = []; // what was typed and is not sent yet
let ws;
let failures = 0;
let unread = 0; // lines that came while the reader was further up

function showState(text) {
  const waiting = outbox.length ? ` Not sent yet: ${outbox.length}.` : "";
  state.textContent = text + waiting;
  state.dataset.open = ws.readyState === WebSocket.OPEN;
}

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40; // pixels, about a line
}

function showUnread() {
  if (isAtEnd()) unread = 0;
  newer.hidden = unread === 0;
  newer.textContent = `${unread} new`;
}

function addLine(name, text) {
  const line = document.createElement("p");
  const speaker = document.createElement("strong");
  speaker.textContent = name;
  // textContent, never innerHTML: what people write stays text.
  line.append(speaker, ": ", text);
  const own = name === composer.dataset.user;
  const follows = own || isAtEnd();
  line.classList.toggle("own", own);
  const now = new Date();
  line.title = now.toLocaleString();
  line.dataset.time = now.toLocaleTimeString([], { timeStyle: "short" });
  log.append(line);
  while (log.childElementCount > LINES_KEPT) log.firstElementChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
  else unread += 1;
  showUnread();
}

function sendOutbox() {
  while (outbox.length && ws.readyState === WebSocket.OPEN) {
    ws.send(JSON.stringify({ message: outbox.shift() }));
  }
}

async function isLoggedOut() {
  try {
    const answer = await fetch(location.href, { redirect: "manual" });
    return answer.type === "opaqueredirect";
  } catch {
    return false; // the server does not answer at all
  }
}

function connect() {
  ws = new WebSocket(address);

  ws.onopen = () => {
    failures = 0;
    sendOutbox();
    showState("Connected.");
  };

  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.error) {
      addLine("Not delivered", data.error);
    } else {
      addLine(data.username, data.message);
    }
  };

  ws.onclose = async () => {
    // Growing, so that a server in trouble is not overrun; random, so that its clients do not all return at once.
    const delay = Math.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
    failures += 1;
    setTimeout(connect, delay);
    if (failures === 1) showState("Connection lost. Trying again …");
    // A browser does not tell a script why a socket was refused, but the page can be asked.
    if (await isLoggedOut()) showState("You are logged out. Log in in another tab, and this page goes on.");
  };
}

// Listening to the form rather than to the Enter key: an Enter that ends a Japanese composition sends nothing.
composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!input.value.trim()) return;
  outbox.push(input.value);
  input.value = "";
  sendOutbox();
  showState(ws.readyState === WebSocket.OPEN ? "Connected." : "Not connected. Trying again …");
});

log.addEventListener("scroll", showUnread);
newer.addEventListener("click", () => {
  log.scrollTop = log.scrollHeight;
  input.focus();
});

connect();
