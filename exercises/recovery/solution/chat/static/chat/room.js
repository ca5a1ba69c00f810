"use strict";

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 5000; // milliseconds
const LINES_KEPT = 500;
const CHECK_EVERY = 30_000; // milliseconds

const composer = document.querySelector("#composer");
const input = document.querySelector("#message");
const log = document.querySelector("#log");
const state = document.querySelector("#state");

// A page loaded over HTTPS may open only wss:, one over HTTP usually has only ws:.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const address = `${scheme}//${location.host}/ws/chat/${encodeURIComponent(composer.dataset.room)}/`;

// Of this tab, room and user; it outlives a reload.
const memory = `chat ${composer.dataset.user} ${composer.dataset.room}`;
const remembered = JSON.parse(sessionStorage.getItem(memory) ?? "{}");
const outbox = remembered.outbox ?? []; // what was typed and is not acknowledged yet
let start = remembered.start ?? null; // the newest message when this tab first entered the room
let last = start; // the newest message shown; a reload shows again what came after `start`
let following = false; // whether the server has answered `since` on this socket
let ws;
let failures = 0;

function remember() {
  sessionStorage.setItem(memory, JSON.stringify({ outbox, start }));
}

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

// crypto.randomUUID() exists on HTTPS and localhost only, getRandomValues() everywhere.
function newClientId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

function settle(clientId) {
  const index = outbox.findIndex((entry) => entry.client_id === clientId);
  if (index >= 0) outbox.splice(index, 1);
  failures = 0;
  remember();
  showState("Connected.");
}

function askForMissed() {
  if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify({ since: last }));
}

function beginToFollow(since) {
  if (following) return;
  following = true;
  last ??= since;
  start ??= since;
  remember();
  if (!outbox.length) failures = 0;
  // Again what was not acknowledged, too: the server knows it by its client_id.
  for (const entry of outbox) ws.send(JSON.stringify(entry));
}

function showMessage(data) {
  if (data.id) {
    // Before the answer to `since`, order is not settled yet; after it, this comes once more.
    if (!following || data.id <= last) return;
    last = data.id;
  }
  addLine(data.username, data.message);
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
  following = false;

  ws.onopen = () => {
    askForMissed();
    showState("Connected.");
  };

  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.error) addLine("Not delivered", data.error);
    if (data.message) showMessage(data);
    if ("since" in data) beginToFollow(data.since);
    if (data.ack || data.refused) settle(data.ack ?? data.refused);
  };

  ws.onclose = async () => {
    // Growing, so that a server in trouble has peace; random, so that its clients do not all return at once.
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
  const entry = { message: input.value, client_id: newClientId() };
  outbox.push(entry);
  remember();
  input.value = "";
  if (following && ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify(entry));
  showState(ws.readyState === WebSocket.OPEN ? "Connected." : "Not connected. Trying again …");
});

connect();
// Should the channel layer lose the last word of a conversation, no later one would show the gap.
setInterval(askForMissed, CHECK_EVERY);
