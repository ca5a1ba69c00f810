"use strict";

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 5000; // milliseconds
const TICK = 5000; // milliseconds after which ages are written again

const $ = (id) => document.getElementById(id);
const key = location.hash.slice(1);
const projector = new URLSearchParams(location.search).has("projector");
const address = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/page`;

let ws;
let failures = 0;
let refused = false;
let room = null;
let came = 0; // when the picture of the room came
const tiles = new Map(); // by a person's number

document.body.classList.toggle("projector", projector);
$("own").hidden = projector;

// textContent, never innerHTML: what people call themselves stays text.
function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function people(count) {
  return count === 1 ? "1 person" : `${count} people`;
}

function span(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return "< 1 min";
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function needs(person) {
  if (person.hand === "help") return "Needs help";
  if (person.stuck) return "Stuck?";
  if (person.hand === "done") return "Done";
  return person.away ? "Away" : "";
}

function fillTile(tile, person, older) {
  const need = needs(person);
  tile.dataset.need = need;
  const lines = [
    ["name", person.nickname || `Person ${person.number}`],
    ["need", person.hand === "help" ? `${need} for ${span(person.hand_for + older)}` : need],
    ["words", person.hand_text],
    ["where", person.of ? `${person.assignment}: ${person.met} of ${person.of}` : "Joined, no check yet"],
    ["at", person.at],
    ["since", person.at ? `for ${span(person.at_for + older)}` : person.of ? "All met" : ""],
    [
      "small",
      [
        projector || !person.hints ? "" : person.hints === 1 ? "1 hint" : `${person.hints} hints`,
        person.doctor === "bad" ? "doctor found a fault" : "",
        person.late ? `came ${person.late} min late` : "",
        person.live ? "" : `last seen ${span(person.seen + older)} ago`,
      ].filter(Boolean).join(" · "),
    ],
  ];
  for (const [name, text] of lines) {
    let line = tile.querySelector(`.${name}`);
    if (!line) {
      line = make(name === "name" ? "h3" : "p", "", name);
      tile.append(line);
    }
    write(line, text);
    line.hidden = !text;
  }
  let bar = tile.querySelector("progress");
  if (!bar) {
    bar = make("progress");
    bar.setAttribute("aria-label", "Requirements met");
    tile.querySelector(".where").after(bar);
  }
  bar.max = Math.max(person.of, 1);
  bar.value = person.met;
  bar.hidden = !person.of;
}

function showPeople(older) {
  const list = $("people");
  const there = new Set(room.people.map((person) => person.number));
  for (const [number, tile] of tiles) {
    if (!there.has(number)) {
      tile.remove();
      tiles.delete(number);
    }
  }
  // A projector shows no tiles: without names they would tell the room nothing but who is slow.
  if (projector) list.hidden = true;
  else room.people.forEach((person, index) => {
    let tile = tiles.get(person.number);
    if (!tile) {
      tile = make("li", "", "tile");
      tiles.set(person.number, tile);
    }
    fillTile(tile, person, older);
    if (list.children[index] !== tile) list.insertBefore(tile, list.children[index] ?? null);
  });
  const count = (what) => room.people.filter((person) => needs(person) === what).length;
  const parts = [
    people(room.people.length),
    count("Needs help") && `${count("Needs help")} need help`.replace(/^1 need/, "1 needs"),
    count("Stuck?") && `${count("Stuck?")} may be stuck`,
    count("Done") && `${count("Done")} done`,
    count("Away") && `${count("Away")} away`,
  ];
  write($("counts"), room.people.length ? parts.filter(Boolean).join(" · ") : "Nobody has joined yet.");
}

function showPlaces() {
  const all = room.places.reduce((sum, place) => sum + place.count, 0);
  const [first] = room.places;
  const most = first && first.count > 1 ? `${first.count} of ${all} are at: ${first.text}` : "";
  write($("most"), most);
  $("most").hidden = !most;
  // A hint that is unfolded stays so, with the focus on it.
  const unfolded = new Set([...document.querySelectorAll("#places details[open]")].map((each) => each.dataset.at));
  const focused = document.activeElement?.closest?.("#places details")?.dataset.at;
  $("places").replaceChildren(
    ...room.places.slice(0, projector ? 8 : 40).map((place) => {
      const item = make("li");
      const bar = make("meter");
      bar.max = Math.max(all, 1);
      bar.value = place.count;
      bar.setAttribute("aria-label", `${place.count} of ${all}`);
      item.append(make("strong", `${place.count}`), bar, make("span", `${place.assignment}: ${place.text}`));
      if (place.stuck) item.append(make("em", `${place.stuck} for more than 10 min`));
      if (!projector && (place.hint || place.symptoms.length)) {
        const details = make("details");
        details.dataset.at = `${place.assignment} ${place.text}`;
        details.open = unfolded.has(details.dataset.at);
        details.append(make("summary", "What helps"));
        if (place.hint) details.append(make("p", place.hint));
        for (const symptom of place.symptoms) details.append(make("p", `They see symptom ${symptom}: docs/symptoms.md#${symptom}`));
        item.append(details);
      }
      return item;
    }),
  );
  if (focused) [...document.querySelectorAll("#places details")].find((each) => each.dataset.at === focused)?.querySelector("summary").focus();
}

function showTimes() {
  $("times").hidden = !room.sections.length;
  $("no-times").hidden = room.sections.length > 0;
  $("times").tBodies[0].replaceChildren(
    ...room.sections.map((part) => {
      const row = make("tr");
      const name = make("th", part.section ? `${part.assignment}: ${part.section}` : part.assignment);
      name.scope = "row";
      row.append(name, ...[part.planned, part.median, part.people].map((value) => make("td", `${value}`)));
      return row;
    }),
  );
}

function show() {
  const older = Math.floor((Date.now() - came) / 1000);
  write($("join"), `To join: tutorial join ${location.origin} ${room.code}`);
  const opened = room.steps.find((step) => step.name === room.opened);
  const said = [room.said, opened && `${opened.title} is open.`].filter(Boolean).join(" · ");
  write($("said"), said);
  $("said").hidden = !said;
  showPlaces();
  showPeople(older);
  if (projector) return;
  if (!$("step").options.length) $("step").append(...room.steps.map((step) => new Option(step.title, step.name)));
  showTimes();
  $("events").replaceChildren(...room.events.map((event) => make("li", `${event.clock} ${event.what}`)));
}

function state(text, open) {
  write($("state"), text);
  $("state").dataset.open = open;
}

function connect() {
  ws = new WebSocket(address);
  ws.onopen = () => ws.send(JSON.stringify({ type: "look", key, nameless: projector }));
  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.type === "error") {
      refused = true;
      state(data.text, false);
      return;
    }
    failures = 0;
    room = data;
    came = Date.now();
    state("Live.", true);
    show();
  };
  ws.onclose = () => {
    if (refused) return;
    // Growing, and random: as in the course's own client.
    const delay = Math.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
    failures += 1;
    setTimeout(connect, delay);
    if (room) state("The board doesn't answer. Trying again …", false);
  };
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (ws.readyState !== WebSocket.OPEN) return;
  ws.send(JSON.stringify({ type: "say", text: $("text").value }));
  $("text").value = "";
});

$("open").addEventListener("submit", (event) => {
  event.preventDefault();
  if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify({ type: "open", text: $("step").value }));
});

setInterval(() => room && showPeople(Math.floor((Date.now() - came) / 1000)), TICK);

if (key) connect();
else state("To join the room, type the command that your instructor shows. This page is the instructor's.", false);
