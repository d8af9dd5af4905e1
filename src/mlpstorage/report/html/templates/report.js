"use strict";
// Charts are in the page already; this adds what paper cannot: values under the pointer, lines to
// hide, a filter, and details that are unpacked when they are opened.
(() => {
  const SIDE = 10000;
  const tip = document.getElementById("tip");

  const say = (value) => {
    const size = Math.abs(value);
    if (size >= 1e9 || (size > 0 && size < 1e-4)) return value.toPrecision(4);
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(4)));
  };

  // A path holds its points as "x y x y"; the y axis of a picture points down.
  const pointsOf = (group) => {
    if (!group.points) {
      const [x0, x1] = group.closest(".chart").dataset.x.split(" ").map(Number);
      const [y0, y1] = group.closest(".chart").dataset.y.split(" ").map(Number);
      const found = group.querySelector("path").getAttribute("d").match(/\d+/g) || [];
      group.points = [];
      for (let i = 0; i + 1 < found.length; i += 2) {
        const share = found[i] / SIDE;
        group.points.push([share, x0 + share * (x1 - x0), y1 - (found[i + 1] / SIDE) * (y1 - y0)]);
      }
    }
    return group.points;
  };

  const nearest = (points, share) =>
    points.reduce((best, one) => (Math.abs(one[0] - share) < Math.abs(best[0] - share) ? one : best));

  const element = (name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const leave = () => {
    tip.hidden = true;
    document.querySelectorAll(".cursor").forEach((one) => one.remove());
  };

  const point = (chart, share) => {
    const groups = [...chart.querySelectorAll("svg g:not(.is-off)")].filter((g) => pointsOf(g).length);
    if (!groups.length) return;
    const area = chart.querySelector(".area");
    const at = nearest(groups.flatMap(pointsOf), share);
    leave();
    const cursor = element("i");
    cursor.className = "cursor";
    cursor.style.left = `${100 * at[0]}%`;
    area.append(cursor);
    chart.dataset.at = at[0];
    const band = [...chart.querySelectorAll(".band")].find((one) => {
      const left = parseFloat(one.style.left);
      return 100 * at[0] >= left && 100 * at[0] <= left + parseFloat(one.style.width);
    });
    tip.replaceChildren(
      element("strong", `${say(at[1])} ${chart.dataset.xLabel}${band ? ` · ${band.dataset.name}` : ""}`),
    );
    for (const group of groups) {
      const found = nearest(pointsOf(group), at[0]);
      if (Math.abs(found[0] - at[0]) > 0.02) continue;
      const row = element("div");
      row.className = group.getAttribute("class").split(" ")[0];
      row.append(element("span", group.dataset.name), element("b", `${say(found[2])} ${chart.dataset.unit}`));
      tip.append(row);
    }
    tip.hidden = false;
    const box = area.getBoundingClientRect();
    const x = box.left + at[0] * box.width;
    const left = x + 14 + tip.offsetWidth > innerWidth ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(box.top + 8, innerHeight - tip.offsetHeight - 4))}px`;
  };

  const follow = (event) => {
    const area = event.target.closest?.(".area");
    if (!area) return leave();
    const box = area.getBoundingClientRect();
    point(area.closest(".chart"), (event.clientX - box.left) / box.width);
  };
  document.addEventListener("pointermove", follow);
  document.addEventListener("pointerdown", follow);
  document.addEventListener("scroll", leave, { passive: true });
  document.addEventListener("focusout", leave);
  document.addEventListener("keydown", (event) => {
    const chart = event.target.closest?.(".chart");
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") leave();
    if (!chart || !way || event.target !== chart) return;
    event.preventDefault();
    const groups = [...chart.querySelectorAll("svg g:not(.is-off)")];
    const places = [...new Set(groups.flatMap(pointsOf).map((one) => one[0]))].sort((a, b) => a - b);
    const now = places.indexOf(Number(chart.dataset.at ?? -1));
    point(chart, places[Math.max(0, Math.min(places.length - 1, now + way))]);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".legend button");
    if (!button) return;
    const item = button.parentElement;
    const chart = item.closest(".chart");
    const group = chart.querySelectorAll("svg g")[[...item.parentElement.children].indexOf(item)];
    const off = item.classList.toggle("is-off");
    group.classList.toggle("is-off", off);
    button.setAttribute("aria-pressed", String(!off));
  });

  const unpack = async (details) => {
    const packed = details.querySelector(":scope > .packed");
    if (!packed) return;
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    packed.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const body = element("div");
    body.innerHTML = await new Response(stream).text(); // made, and escaped, by the report's writer
    details.append(...body.childNodes);
  };
  document.querySelectorAll(".set").forEach((details) => {
    details.addEventListener("toggle", () => details.open && unpack(details));
  });

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.('a[href="' + location.hash + '"]')) reveal();
  });
  reveal();

  // Paper shows everything, unless that would be hundreds of sets.
  let shut = [];
  addEventListener("beforeprint", () => {
    if (document.body.classList.contains("is-packed")) return;
    shut = [...document.querySelectorAll("details:not([open])")];
    shut.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => shut.forEach((one) => (one.open = false)));

  const tools = document.querySelector(".tools");
  const rows = [...document.querySelectorAll("tr[data-set]")];
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  tools.hidden = rows.length < 4;
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const kind = row.closest(".wide").previousElementSibling.textContent;
      row.texts ??= `${kind} ${row.textContent}`.toLowerCase();
      const fits = words.every((word) => row.texts.includes(word));
      row.hidden = !fits;
      document.getElementById(row.dataset.set).hidden = !fits;
      count += fits;
    }
    shown.textContent = words.length ? `${count} of ${rows.length} sets` : "";
  });
})();
