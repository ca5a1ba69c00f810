"use strict";

// How rare a word is among the symptoms tells how much it says. A number that no symptom has is a port, a time or an id.
const words = (text) => new Set(text.toLowerCase().match(/[\p{L}_]+|\d+/gu) ?? []);
const linesOf = ({ title, lines }) => [...title.split(" · "), title, ...lines];
const vocabulary = SYMPTOMS.map((symptom) => words(linesOf(symptom).join(" ")));

function weight(word) {
  const found = vocabulary.filter((known) => known.has(word)).length;
  if (!found && /\d/.test(word)) return 0;
  return Math.log(1 + SYMPTOMS.length / Math.max(found, 0.5));
}

const heaviness = (set) => [...set].reduce((sum, word) => sum + weight(word), 0);

// Symptoms that a text is about, the best first: how much of the text is in a line, and how much of the line in the text.
function findSymptoms(text) {
  const asked = words(text);
  const whole = heaviness(asked);
  if (!whole) return [];
  const found = SYMPTOMS.map((symptom) => {
    const scores = linesOf(symptom).map((line) => {
      const has = words(line);
      const common = heaviness(asked.intersection ? asked.intersection(has) : new Set([...asked].filter((w) => has.has(w))));
      return (common / whole + common / heaviness(has)) / 2;
    });
    return { ...symptom, score: Math.max(...scores) };
  });
  return found.filter(({ score }) => score > 0.57).sort((a, b) => b.score - a.score).slice(0, 5);
}

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(text);
  return made;
}

function result(place, address, title, about) {
  const item = element("li", element("a", title, { href: address }));
  item.append(about);
  place.append(item);
}

async function searchPages(text, place) {
  const pagefind = await import(new URL("pagefind/pagefind.js", document.baseURI));
  const { results } = await pagefind.search(text);
  const pages = await Promise.all(results.slice(0, 10).map((found) => found.data()));
  place.replaceChildren();
  for (const page of pages) {
    const [best] = [...page.sub_results].sort((a, b) => b.weighted_locations.length - a.weighted_locations.length);
    const title = best && best.title !== page.meta.title ? `${page.meta.title}: ${best.title}` : page.meta.title;
    // Pagefind escapes the text of a page and marks the words with <mark>.
    const excerpt = element("p", "");
    excerpt.innerHTML = (best ?? page).excerpt;
    result(place, (best ?? page).url, title, excerpt);
  }
  return pages.length;
}

async function search(form) {
  const text = form.elements.q.value.trim();
  const state = document.querySelector("#search-state");
  const symptoms = findSymptoms(text);
  const place = document.querySelector("#search-symptoms");
  place.replaceChildren();
  for (const { anchor, title, lines } of symptoms) {
    result(place, `symptoms.html#${anchor}`, title, element("p", element("code", lines[0] ?? "")));
  }
  if (!text || location.protocol === "file:") return;
  state.textContent = "Searching …";
  const count = symptoms.length + (await searchPages(text, document.querySelector("#search-pages")));
  if (form.elements.q.value.trim() === text) state.textContent = `${count} results`;
}

function sphinxSearch() {
  for (const name of ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"]) {
    document.head.append(Object.assign(document.createElement("script"), { src: name, async: false }));
  }
}

const form = document.querySelector("form.search-page");
if (form) {
  form.elements.q.value = new URLSearchParams(location.search).get("q") ?? "";
  search(form);
  if (location.protocol === "file:") sphinxSearch();
  else {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      history.replaceState(null, "", `?${new URLSearchParams({ q: form.elements.q.value })}`);
      search(form);
    });
  }
}

// The symptoms' own page: a box that leaves only the entries with all words, or those that an error's text is about.
const heading = form ? null : document.querySelector("article h1");
if (heading) {
  const box = element("input", "", { id: "filter", type: "search", autocomplete: "off", spellcheck: false });
  const state = element("p", "", { role: "status" });
  const entries = SYMPTOMS.map(({ anchor }) => document.getElementById(anchor).closest("section"));
  const filter = () => {
    const asked = [...words(box.value)];
    let shown = entries.filter((entry) => asked.every((word) => entry.textContent.toLowerCase().includes(word)));
    if (!shown.length) {
      const found = findSymptoms(box.value).map(({ anchor }) => anchor);
      shown = entries.filter((_, index) => found.includes(SYMPTOMS[index].anchor));
    }
    for (const entry of entries) entry.hidden = !shown.includes(entry);
    for (const part of document.querySelectorAll("article section > section:has(> section)")) {
      part.hidden = !part.querySelector(":scope > section:not([hidden])");
    }
    state.textContent = box.value.trim() ? `${shown.length} of ${entries.length}` : "";
  };
  box.addEventListener("input", filter);
  const label = element("label", "Show only entries with these words, or paste an error", { htmlFor: "filter" });
  const around = element("div", label, { className: "search-page", role: "search", ariaLabel: "Symptoms" });
  around.append(box, state);
  heading.after(around);
}
