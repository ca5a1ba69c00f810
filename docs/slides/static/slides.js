"use strict";
// Reveal calls itself an application. In one, a screen reader reads nothing by itself.
function beAPage() {
  document.querySelector(".reveal").setAttribute("role", "main");
  document.querySelector(".slides").removeAttribute("role");
}

addEventListener("load", () => (Reveal.isReady() ? beAPage() : Reveal.on("ready", beAPage)));
