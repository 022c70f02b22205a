// Elements, texts and drawings. Names from the records become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const percent = (fraction) => (fraction === null || fraction === undefined ? "-" : `${(100 * fraction).toFixed(2)} %`);
export const decimal = (value, digits = 3) => (value === null || value === undefined ? "-" : value.toFixed(digits));
export const whole = (value) => (value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en"));
export const points = (fraction) =>
  fraction === null ? "-" : `${fraction >= 0 ? "+" : "-"}${Math.abs(100 * fraction).toFixed(2)}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// table(caption, [["head", "number" or ""], ...], rows of cells); the first cell of a row is its head
export function table(caption, heads, rows, isShown = true) {
  if (!isShown || !rows.length) return null;
  const cell = (content, column, row) => {
    const node = content instanceof Node ? content : document.createTextNode(content ?? "-");
    if (!column) return el("th", { scope: "row" }, node);
    const kind = [heads[column][1], row.lowest?.includes(column) ? "lowest" : ""].filter(Boolean).join(" ");
    return el("td", { class: kind || null }, node);
  };
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, heads.map(([head, kind]) => el("th", { scope: "col", class: kind || null }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content, column) => cell(content, column, row)))))));
}

export function progressBar(done, running, total, label, width = 640, height = 14) {
  const scale = (number) => (total ? (width * number) / total : 0);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("rect", { class: "track", width, height, rx: 4 }),
    svg("rect", { class: "fill", width: scale(done), height, rx: 4 }),
    svg("rect", { class: "part", x: scale(done), width: scale(Math.min(running, total - done)), height }));
}

export function swatch(place) {
  return svg("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true", class: `arm-${place % 7}` },
    svg("rect", { class: "end", width: 12, height: 12, rx: 3 }));
}

function ticks(low, high, n) {
  const raw = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}

// rows: {arm, errors, best, median, mean, low, high}, all in percent or null
export function errorPlot(rows, width) {
  const values = rows.flatMap((row) => [...row.errors, row.best, row.median, row.mean, row.low, row.high]).filter((value) => value !== null && value !== undefined);
  if (!values.length) return null;
  const longest = Math.max(...rows.map((row) => row.arm.length));
  const isAbove = 14 + 7 * longest > width * 0.42; // long names stand above their rows
  const left = isAbove ? 10 : 14 + 7 * longest, right = width - 14;
  const step = (rows.some((row) => row.mean !== null) ? 36 : 26) + (isAbove ? 16 : 0);
  const pad = Math.max(0.5, (Math.max(...values) - Math.min(...values)) * 0.04);
  const low = Math.min(...values) - pad, high = Math.max(...values) + pad;
  const x = (value) => left + ((value - low) / (high - low)) * (right - left);
  const height = rows.length * step + 40;
  const [marks, digits] = ticks(low, high, width < 500 ? 4 : 8);
  const parts = marks.map((value) => [
    svg("line", { class: "grid", x1: x(value), x2: x(value), y1: 4, y2: rows.length * step + 6 }),
    svg("text", { x: x(value), y: rows.length * step + 20, "text-anchor": "middle" }, value.toFixed(digits)),
  ]);
  parts.push(svg("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, "top-1 error (%)"));
  rows.forEach((row, place) => {
    const y = place * step + (isAbove ? 33 : 17);
    const label = isAbove ? { x: left, y: y - 13 } : { x: left - 10, y: y + 4, "text-anchor": "end" };
    const group = svg("g", { class: `arm-${place % 7}` },
      svg("text", { class: "strong", ...label }, row.arm),
      svg("line", { class: "axis", x1: left, x2: right, y1: y, y2: y }),
      row.errors.map((value) => svg("circle", { class: "dot", cx: x(value), cy: y, r: 3.2 })));
    if (row.median !== null) group.append(svg("line", { class: "median", x1: x(row.median), x2: x(row.median), y1: y - 8, y2: y + 8 }));
    if (row.best !== null) group.append(svg("circle", { class: "best", cx: x(row.best), cy: y, r: 4.5 }));
    if (row.mean !== null) {
      if (row.low !== null) group.append(svg("line", { class: "interval", x1: x(row.low), x2: x(row.high), y1: y + 9, y2: y + 9 }));
      group.append(svg("path", { class: "mean", d: `M${x(row.mean)} ${y + 4} l5 5 l-5 5 l-5 -5 z` }));
    }
    parts.push(group);
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Error of each arm; the table above has the numbers" }, parts);
}

// curves: {trial, status, errors: [[epoch, fraction], ...]}; all panels have the same scales
export function curvePlot(arm, curves, place, scale) {
  const width = 300, height = 170, left = 34, right = width - 14, top = 8, bottom = height - 26;
  const x = (epoch) => left + ((epoch - 1) / Math.max(1, scale.epochs - 1)) * (right - left);
  const y = (error) => bottom - ((100 * error - scale.low) / (scale.high - scale.low)) * (bottom - top);
  const [marks, digits] = ticks(scale.low, scale.high, 6);
  const parts = marks.map((value) => [
    svg("line", { class: "grid", x1: left, x2: right, y1: y(value / 100), y2: y(value / 100) }),
    svg("text", { x: left - 5, y: y(value / 100) + 4, "text-anchor": "end" }, value.toFixed(digits)),
  ]);
  const [epochs] = ticks(1, Math.max(2, scale.epochs), 5);
  for (const epoch of epochs.filter(Number.isInteger)) {
    parts.push(svg("text", { x: x(epoch), y: bottom + 14, "text-anchor": "middle" }, epoch));
  }
  const order = { running: 3, failed: 2, diverged: 2 };
  for (const { trial, status, errors } of [...curves].sort((one, other) => (order[one.status] ?? 0) - (order[other.status] ?? 0))) {
    const d = errors.map(([epoch, error], n) => `${n ? "L" : "M"}${x(epoch).toFixed(1)} ${y(error).toFixed(1)}`).join("");
    parts.push(svg("path", { class: `curve ${status}`, d }, svg("title", {}, `${trial}: ${status}`)));
    const [epoch, error] = errors.at(-1);
    if (status === "running") parts.push(svg("circle", { class: "end", cx: x(epoch), cy: y(error), r: 3.4 }, svg("title", {}, trial)));
    if (status === "failed" || status === "diverged") {
      const [cx, cy] = [x(epoch), y(error)];
      parts.push(svg("path", { class: "cross", d: `M${cx - 3} ${cy - 3}l6 6m-6 0l6 -6` }, svg("title", {}, `${trial}: ${status}`)));
    }
  }
  const label = `Validation error by epoch in arm ${arm}: ${curves.length} trials`;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: `arm-${place % 7}` }, parts);
}

// poll(address, show): show the document again and again; say so while the server does not answer
export function poll(address, show) {
  const notice = document.getElementById("connection");
  let since = null, timer = 0;
  const look = async () => {
    let pause = 2;
    try {
      const response = await fetch(address, { cache: "no-store" });
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      const data = await response.json();
      pause = data.refresh_s;
      show(data);
      since = null;
      notice.hidden = true;
    } catch (error) {
      since ??= new Date();
      notice.textContent = `No news since ${since.toLocaleTimeString("en-GB")} (${error.message}). The page shows what was last read. Does cutmix-sweep serve still run?`;
      notice.hidden = false;
    }
    timer = document.hidden ? 0 : setTimeout(look, 1000 * pause);
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !timer) look();
  });
  look();
}

// fill(parent, id, facts, build): build a part again only if its facts have changed; null removes it
const known = new Map();
export function fill(parent, id, facts, build) {
  const text = JSON.stringify(facts);
  let part = document.getElementById(id);
  if (!part) parent.append((part = el("section", { id })));
  if (known.get(id) === text) return;
  known.set(id, text);
  const scrolled = [...part.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  const opened = [...part.querySelectorAll("details")].map((each) => each.open);
  const content = build();
  part.replaceChildren(...(content ? [content].flat(Infinity).filter(Boolean) : []));
  part.hidden = !content;
  part.querySelectorAll("details").forEach((each, place) => (each.open = opened[place] ?? false));
  part.querySelectorAll(".scroll").forEach((each, place) => (each.scrollLeft = scrolled[place] ?? 0));
}
