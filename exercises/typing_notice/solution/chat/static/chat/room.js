"use strict";

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 5000; // milliseconds
const LINES_KEPT = 500;
const TELL_EVERY = 2000; // milliseconds
const BELIEVED = 5000; // milliseconds; longer than TELL_EVERY and the way

const composer = document.querySelector("#composer");
const input = document.querySelector("#message");
const log = document.querySelector("#log");
const typing = document.querySelector("#typing");
const state = document.querySelector("#state");

// A page loaded over HTTPS may open only wss:, one over HTTP usually has only ws:.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const address = `${scheme}//${location.host}/ws/chat/${encodeURIComponent(composer.dataset.room)}/`;

const outbox = []; // what was typed and is not sent yet
let ws;
let failures = 0;
let toldAt = -Infinity; // when we last said that we are typing
const typists = new Map(); // the timer by which each name disappears

function showState(text) {
  const waiting = outbox.length ? ` Not sent yet: ${outbox.length}.` : "";
  state.textContent = text + waiting;
  state.dataset.open = ws.readyState === WebSocket.OPEN;
}

function addLine(name, text) {
  const line = document.createElement("p");
  const speaker = document.createElement("strong");
  speaker.textContent = name;
  // textContent, never innerHTML: what people write stays text.
  line.append(speaker, ": ", text);
  log.append(line);
  while (log.childElementCount > LINES_KEPT) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

function showTypists() {
  const names = [...typists.keys()];
  typing.textContent = names.length ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} typing …` : "";
}

function removeTypist(name) {
  clearTimeout(typists.get(name));
  typists.delete(name);
  showTypists();
}

function addTypist(name) {
  clearTimeout(typists.get(name));
  // Nobody says that they have stopped: they fall silent, or are cut off.
  typists.set(name, setTimeout(removeTypist, BELIEVED, name));
  showTypists();
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
    } else if (data.typing) {
      addTypist(data.typing);
    } else {
      removeTypist(data.username);
      addLine(data.username, data.message);
    }
  };

  ws.onclose = async () => {
    [...typists.keys()].forEach(removeTypist);
    // Growing, so that a server in trouble has peace; random, so that its clients do not all return at once.
    const delay = Math.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
    failures += 1;
    setTimeout(connect, delay);
    if (failures === 1) showState("Connection lost. Trying again …");
    // A browser does not tell a script why a socket was refused, but the page can be asked.
    if (await isLoggedOut()) showState("You are logged out. Log in in another tab, and this page goes on.");
  };
}

input.addEventListener("input", () => {
  const now = performance.now();
  if (!input.value || now - toldAt < TELL_EVERY || ws.readyState !== WebSocket.OPEN) return;
  toldAt = now;
  ws.send(JSON.stringify({ typing: true }));
});

// Listening to the form rather than to the Enter key: an Enter that ends a Japanese composition sends nothing.
composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!input.value.trim()) return;
  outbox.push(input.value);
  input.value = "";
  toldAt = -Infinity; // the next message begins at its first key
  sendOutbox();
  showState(ws.readyState === WebSocket.OPEN ? "Connected." : "Not connected. Trying again …");
});

connect();
