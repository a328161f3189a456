// Read-out under the pointer and by the arrow keys; tables that are folded away are printed. Nothing is fetched.
(() => {
  "use strict";
  const attach = () => {
    const source = document.getElementById("power-data");
    const chart = document.getElementById("power");
    if (!source || !chart) return;
    const data = JSON.parse(source.textContent);
    const plot = chart.querySelector(".plot");
    const cursor = chart.querySelector(".cursor");
    const readout = chart.querySelector(".readout");
    const last = data.at.length - 1;
    let now = last;
    const words = (n) =>
      [data.times[n], ...data.names.map((name, i) => `${name} ${data.watts[i][n]}`), `machine ${data.machine[n]}`];
    const show = (n) => {
      now = Math.max(0, Math.min(last, n));
      const middle = (data.at[now] + (now ? data.at[now - 1] : 0)) / 2;
      const share = data.end > 0 ? middle / data.end : 0;
      cursor.setAttribute("x1", `${100 * share}%`);
      cursor.setAttribute("x2", `${100 * share}%`);
      cursor.setAttribute("visibility", "visible");
      const lines = words(now);
      readout.textContent = `until ${lines.join("\n")}`;
      readout.hidden = false;
      const box = plot.getBoundingClientRect();
      const left = box.left - chart.getBoundingClientRect().left + share * box.width;
      const wide = readout.offsetWidth;
      readout.style.left = `${Math.max(0, left + wide + 12 > chart.clientWidth ? left - wide - 12 : left + 12)}px`;
      chart.setAttribute("aria-valuenow", now);
      chart.setAttribute("aria-valuetext", lines.join(", "));
    };
    const hide = () => {
      cursor.setAttribute("visibility", "hidden");
      readout.hidden = true;
    };
    const at = (event) => {
      const box = plot.getBoundingClientRect();
      const moment = ((event.clientX - box.left) / box.width) * data.end;
      const found = data.at.findIndex((end) => moment <= end);
      show(found < 0 ? last : found);
    };
    const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9 };
    const attributes = {
      tabindex: 0, role: "slider", "aria-label": "Power at a moment of the run",
      "aria-valuemin": 0, "aria-valuemax": last, "aria-valuenow": last, "aria-valuetext": words(last).join(", "),
    };
    for (const [name, value] of Object.entries(attributes)) chart.setAttribute(name, value);
    chart.addEventListener("pointermove", at);
    chart.addEventListener("pointerdown", at);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) show(now); });
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      if (!(event.key in keys)) return;
      event.preventDefault();
      show(now + keys[event.key]);
    });
  };
  attach();
  document.addEventListener("joulewise:renewed", attach); // the dashboard renewed its page
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
