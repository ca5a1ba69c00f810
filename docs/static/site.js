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
