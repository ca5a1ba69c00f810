"use strict";

// The pages of changes: unified or side by side, remembered; all files folded or unfolded.
for (const form of document.querySelectorAll(".change-view")) {
  form.hidden = false;
  const shown = localStorage.getItem("changes") === "split" ? "split" : "unified";
  form.elements.view.value = shown;
  document.body.dataset.changes = shown;
  form.addEventListener("change", () => {
    document.body.dataset.changes = form.elements.view.value;
    localStorage.setItem("changes", form.elements.view.value);
  });
  form.addEventListener("click", (event) => {
    if (!("unfold" in event.target.dataset)) return;
    for (const change of document.querySelectorAll("details.change")) {
      change.open = Boolean(event.target.dataset.unfold);
    }
  });
}

// The theme opens its drawers by labels of hidden boxes, which no key reaches. These are buttons; a closed drawer is inert.
const DRAWERS = [
  ["__navigation", ".sidebar-drawer", "Contents of the site", "(max-width: 63em)"],
  ["__toc", ".toc-drawer", "Contents of the page", "(max-width: 82em)"],
];
for (const [id, selector, name, width] of DRAWERS) {
  const box = document.getElementById(id);
  const drawer = document.querySelector(selector);
  const narrow = matchMedia(width);
  const buttons = Array.from(document.querySelectorAll(`label[for="${id}"]:not(.overlay)`), (label) => {
    const button = document.createElement("button");
    button.className = label.className;
    button.ariaLabel = name;
    button.append(...label.childNodes);
    label.replaceWith(button);
    return button;
  });
  drawer.ariaLabel = name;
  const update = () => {
    drawer.inert = narrow.matches && !box.checked;
    for (const button of buttons) button.ariaExpanded = box.checked;
  };
  const open = (wanted) => {
    box.checked = wanted;
    update();
    const to = wanted ? drawer.querySelector("a, input") : buttons.find((button) => button.checkVisibility());
    to?.focus();
  };
  for (const button of buttons) button.addEventListener("click", () => open(!box.checked));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.checked) open(false);
  });
  box.addEventListener("change", update);
  narrow.addEventListener("change", update);
  update();
}
document.querySelector("form.sidebar-search-container")?.setAttribute("aria-label", "Site");

// On a phone a table's row is a card, and each cell says what it is.
for (const table of document.querySelectorAll("table.docutils:has(> thead)")) {
  const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.trim());
  for (const row of table.tBodies[0]?.rows ?? []) {
    Array.from(row.cells).forEach((cell, index) => (cell.dataset.label = names[index]));
  }
}

// What can be scrolled sideways can be focused, so that arrow keys scroll it.
const letScroll = () => {
  for (const part of document.querySelectorAll("pre, .table-wrapper, div.output")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
};
addEventListener("resize", letScroll);
document.addEventListener("toggle", letScroll, true);
letScroll();
