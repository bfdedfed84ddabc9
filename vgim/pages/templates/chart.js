"use strict";
// Names the point of a chart that the reader points at, or steps to with the arrow keys.
(() => {
  const REACH = 26; // CSS pixels
  const SPOT = "http://www.w3.org/2000/svg";
  const title = (element) => element.querySelector("title")?.textContent ?? "";

  const textOf = (svg, label, value) => {
    const names = svg.dataset.names?.split("|") ?? [];
    const [first, second] = value.replace(/^@(\d+)/, (_, number) => names[number] ?? "").split("|");
    return second === undefined ? `${label}\n${first}` : `${label}\n${svg.dataset.x} ${first}: ${second}`;
  };
  // One list of points for each line or class, one for the marks, one for the points outside the axes.
  const seriesOf = (svg) => {
    const found = [...svg.querySelectorAll("[data-values]")].map((path) => {
      const label = title(path), values = path.dataset.values.split(";");
      const places = [...path.getAttribute("d").matchAll(/[ML]([-\d.e]+) ([-\d.e]+)/g)];
      return places.map((at, i) => ({ x: +at[1], y: +at[2], text: textOf(svg, label, values[i] ?? "") }));
    });
    for (const kind of [".mark", ".clipped"]) {
      found.push([...svg.querySelectorAll(`${kind}:has(title)`)].map((mark) => {
        const box = mark.getBBox(), matrix = mark.transform.baseVal.consolidate()?.matrix;
        const at = new DOMPoint(box.x + box.width / 2, box.y + box.height / 2).matrixTransform(matrix);
        return { x: at.x, y: at.y, text: title(mark) };
      }));
    }
    return found.filter((points) => points.length);
  };

  for (const svg of document.querySelectorAll(".chart svg[role=img]")) {
    const figure = svg.closest("figure");
    const spot = document.createElementNS(SPOT, "circle");
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    spot.setAttribute("class", "here");
    svg.setAttribute("tabindex", "0");
    figure.append(tip);
    let series = null, line = 0, index = -1;

    const prepare = () => {
      if (series) return;
      series = seriesOf(svg);
      // The browser's own tooltips would show the same again.
      for (const one of svg.querySelectorAll("title")) one.remove();
    };
    const hide = () => { tip.textContent = ""; spot.remove(); index = -1; };
    const show = (at) => {
      const matrix = svg.getScreenCTM(), place = new DOMPoint(at.x, at.y).matrixTransform(matrix);
      const box = figure.getBoundingClientRect();
      for (const [name, value] of [["cx", at.x], ["cy", at.y], ["r", 6 / matrix.a]]) spot.setAttribute(name, value);
      svg.append(spot);
      tip.textContent = at.text.trim();
      const left = Math.min(place.x - box.left + 12, box.width - tip.offsetWidth);
      tip.style.left = `${Math.max(left, 0)}px`;
      tip.style.top = `${place.y - box.top - tip.offsetHeight - 12}px`;
    };
    const point = (event) => {
      prepare();
      const matrix = svg.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      let best = REACH / matrix.a;
      index = -1;
      series.forEach((points, number) => points.forEach((one, i) => {
        const distance = Math.hypot(one.x - at.x, one.y - at.y);
        if (distance < best) [best, line, index] = [distance, number, i];
      }));
      if (index >= 0) show(series[line][index]); else hide();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      prepare();
      if (!series.length) return;
      const last = series[line].length - 1, turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") return hide();
      if (turn) {
        const from = series[line][Math.max(index, 0)];
        line = (line + turn + series.length) % series.length;
        const away = series[line].map((one) => Math.abs(one.x - from.x));
        index = away.indexOf(Math.min(...away));
      } else if (event.key === "ArrowRight") index = Math.min(index + 1, last);
      else if (event.key === "ArrowLeft") index = Math.max(index - 1, 0);
      else if (event.key === "Home") index = 0;
      else if (event.key === "End") index = last;
      else return;
      event.preventDefault();
      show(series[line][index]);
    });
  }
})();
