// A module: its names can't clash with those of room.js.
const LONGEST_DELAY = 10_000; // milliseconds

const notices = document.querySelector("#notices");
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const shown = new Set(); // a notice that comes twice is shown once
let failures = 0;

function show(ws, id, text) {
  if (shown.has(id)) return;
  shown.add(id);
  const notice = document.createElement("p");
  notice.className = "notice";
  const button = document.createElement("button");
  button.textContent = "Dismiss";
  button.addEventListener("click", () => {
    if (ws.readyState !== WebSocket.OPEN) return;
    ws.send(JSON.stringify({ dismiss: id }));
    notice.remove();
  });
  // append() turns a string into text, never into markup.
  notice.append(text, " ", button);
  notices.append(notice);
}

function connect() {
  const ws = new WebSocket(`${scheme}//${location.host}/ws/notices/`);
  ws.onopen = () => {
    failures = 0;
    // Everything comes again, with buttons that use the new socket.
    notices.replaceChildren();
    shown.clear();
  };
  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.notice) show(ws, data.notice, data.text);
  };
  ws.onclose = () => {
    failures += 1;
    setTimeout(connect, Math.random() * Math.min(LONGEST_DELAY, 1000 * 2 ** failures));
  };
}

connect();
