"use strict";

const LONGEST_DELAY = 5000; // milliseconds

const bar = document.querySelector("#progress");
const outcome = document.querySelector("#outcome");
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
let failures = 0;

function connect() {
  const ws = new WebSocket(`${scheme}//${location.host}/ws/reports/${bar.dataset.report}/`);
  let finished = false;

  ws.onmessage = (event) => {
    const { done, total, characters } = JSON.parse(event.data);
    failures = 0;
    bar.max = total;
    bar.value = done;
    finished = characters !== null;
    if (!finished) return;
    outcome.textContent = `You have written ${characters} characters.`;
    ws.close();
  };

  ws.onclose = () => {
    if (finished) return;
    // The first frame of the next socket says how far the work is by then.
    failures += 1;
    setTimeout(connect, Math.random() * Math.min(LONGEST_DELAY, 500 * 2 ** failures));
  };
}

connect();
