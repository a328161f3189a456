// A page with data-live renews its main part while something goes on. Nothing but this site is asked.
(() => {
  "use strict";
  const pause = 2000;
  const key = (part) => part.querySelector("summary")?.textContent ?? "";
  const renew = async () => {
    const main = document.querySelector("main[data-live]");
    if (!main) return;
    const busy = main.contains(document.activeElement) && document.activeElement.matches("input, select, button, #power");
    if (!document.hidden && !busy && !main.querySelector("input:checked")) {
      try {
        const answer = await fetch(main.dataset.live, { headers: { accept: "text/html" }, cache: "no-store" });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
          const open = new Set([...main.querySelectorAll("details[open]")].map(key));
          fresh.querySelectorAll("details").forEach((part) => { part.open = open.has(key(part)); });
          main.replaceWith(document.adoptNode(fresh));
          document.dispatchEvent(new Event("joulewise:renewed"));
        }
      } catch {
        // the server is away: what is shown stays, and the next try may reach it
      }
    }
    setTimeout(renew, pause);
  };
  setTimeout(renew, pause);
})();
