// A module: its names can't clash with those of another script.
const region = document.querySelector("#new-posts");
let last = region.dataset.last; // the id of the newest post that the page shows

function listen() {
  const source = new EventSource(`${region.dataset.url}?after=${last}`);
  source.onmessage = (event) => {
    last = event.lastEventId;
    const { author, title } = JSON.parse(event.data);
    const notice = document.createElement("p");
    notice.className = "notice";
    // Text, never markup.
    notice.textContent = `${author} has published: ${title}`;
    region.append(notice);
  };
  source.onerror = () => {
    // The browser comes back by itself, except after a wrong answer, such as a proxy's 502.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000 + 2000 * Math.random());
  };
}

listen();
