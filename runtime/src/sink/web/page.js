"use strict";
// The page about a run: one stream of pictures and one of events, nothing else.
const element = (id) => document.getElementById(id);
const look = { mode: "overlay", opacity: 50, hide: new Set(), ...stored() };
const CHARTS = [
  ["Frames a second", "", (s) => s.minute.fps],
  ["Age p95", " ms", (s) => s.minute.age.p95_ms],
  ["Inference p95", " ms", (s) => s.minute.stages.infer.p95_ms],
  ["Memory", " MiB", (s) => s.rss_now_mib],
];
const POINTS = 120;
let lastFrame = 0;

// The token came as a setting; the cookie has it now, and the address need not show it.
history.replaceState(null, "", location.pathname);

function stored() {
  try {
    const old = JSON.parse(localStorage.getItem("look"));
    return { ...old, hide: new Set(old.hide) };
  } catch {
    return {};
  }
}

function settings() {
  return `mode=${look.mode}&opacity=${look.opacity}&hide=${[...look.hide].sort((a, b) => a - b).join(",")}`;
}

// Number of the camera that is shown; 0 shows all of them, with the figures of the first.
let camera = 1, cameras = 1;
const figuresOf = () => camera || 1;

function showPicture() {
  const shown = camera ? [camera] : Array.from({ length: cameras }, (_, i) => i + 1);
  const pictures = element("pictures");
  pictures.classList.toggle("all", !camera);
  while (pictures.children.length > shown.length) {
    // Without this the stream of a picture that has gone would go on.
    pictures.lastChild.src = "";
    pictures.lastChild.remove();
  }
  while (pictures.children.length < shown.length) {
    const picture = node("img", { alt: `Live picture of camera ${shown[pictures.children.length]}` });
    picture.addEventListener("error", pictureFailed);
    pictures.append(picture);
  }
  shown.forEach((number, i) => {
    pictures.children[i].src = `stream.mjpg?camera=${number}&${settings()}&t=${Date.now()}`;
    pictures.children[i].onclick = camera ? null : () => choose(number);
  });
  element("snapshot").href = `frame.jpg?camera=${figuresOf()}&${settings()}`;
}

// Too many different pictures at once, for example: those that were left end in a moment.
function pictureFailed(event) {
  if (event.target.getAttribute("src")) setTimeout(() => event.target.isConnected && showPicture(), 2000);
}

function choose(number) {
  camera = number;
  document.querySelectorAll("[data-camera]").forEach((b) => b.setAttribute("aria-pressed", Number(b.dataset.camera) === camera));
  element("of").textContent = cameras > 1 ? ` of camera ${figuresOf()}` : "";
  charts.forEach((chart) => { chart.past = []; });
  showPicture();
  listen();
}

// One button for each camera and one for all, if there are several.
function choices(count) {
  if (count === cameras) return;
  cameras = count;
  camera = Math.min(camera, count);
  element("cameras").hidden = count === 1;
  element("cameras").replaceChildren(...Array.from({ length: count + 1 }, (_, number) => {
    const button = node("button", { textContent: number ? `Camera ${number}` : "All" });
    button.dataset.camera = number;
    button.addEventListener("click", () => choose(number));
    return button;
  }));
  choose(camera);
}

let waiting;
function changed() {
  element("opacity").value = look.opacity;
  element("percent").value = `${look.opacity} %`;
  document.querySelectorAll("[data-mode]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.mode === look.mode));
  try {
    localStorage.setItem("look", JSON.stringify({ ...look, hide: [...look.hide] }));
  } catch { /* private windows keep nothing */ }
  clearTimeout(waiting);
  waiting = setTimeout(showPicture, 150);
}

function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// One line per class; made anew when the model changes.
let known = "";
const lines = new Map();
function legend(classes) {
  const names = JSON.stringify(classes.map((c) => [c.id, c.name, c.color]));
  if (names !== known) {
    known = names;
    lines.clear();
    element("classes").replaceChildren(...classes.map((c) => {
      const box = node("input", { type: "checkbox", checked: !look.hide.has(c.id) });
      box.addEventListener("change", () => {
        box.checked ? look.hide.delete(c.id) : look.hide.add(c.id);
        changed();
      });
      const swatch = node("span", { className: "swatch" }), bar = node("i"), number = node("span", { className: "number" });
      swatch.style.background = bar.style.background = c.color;
      lines.set(c.id, { bar, number });
      const name = node("span", { className: "name", textContent: c.name, title: c.name });
      return node("li", {}, node("label", {}, box, swatch, name, node("span", { className: "bar" }, bar), number));
    }));
  }
  for (const c of classes) {
    const line = lines.get(c.id);
    line.bar.style.width = `${100 * c.share}%`;
    line.number.textContent = `${(100 * c.share).toFixed(1)} %`;
  }
}

const charts = CHARTS.map(([name, unit, value]) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  svg.setAttribute("viewBox", `0 0 ${POINTS - 1} 30`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.append(curve);
  const now = node("b");
  element("charts").append(node("div", { className: "chart" }, now, node("span", { textContent: name }), svg));
  return { unit, value, curve, now, past: [] };
});

function statistics(s) {
  element("model").textContent = `${s.model.name} v${s.model.version} (${s.model.precision})`;
  document.title = `${s.model.name} v${s.model.version}`;
  element("rate").textContent = `${s.minute.fps.toFixed(1)} fps`;
  for (const chart of charts) {
    chart.past = [...chart.past, chart.value(s)].slice(-POINTS);
    const top = Math.max(...chart.past, 1e-9) * 1.1, from = POINTS - chart.past.length;
    chart.now.textContent = chart.value(s).toFixed(1) + chart.unit;
    chart.curve.setAttribute("points", chart.past.map((y, x) => `${from + x},${30 - (30 * y) / top}`).join(" "));
  }
  const order = ["capture", "preprocess", "infer", "class_map", "overlay", "sink"];
  const rows = [...order.map((name) => [name.replace("_", " "), s.minute.stages[name]]), ["age", s.minute.age], ["gap", s.minute.gap]];
  element("stages").replaceChildren(...rows.map(([name, p]) => node("tr", {}, node("td", { textContent: name }),
    ...[p.p50_ms, p.p95_ms, p.p99_ms, p.max_ms].map((ms) => node("td", { textContent: ms.toFixed(1) })))));
  const faults = Object.entries(s.faults).map(([kind, count]) => `${count} × ${kind}`);
  element("counts").textContent = [`${s.frames} frames`, `${s.dropped} dropped`, `longest gap ${s.max_gap_ms.toFixed(0)} ms`, ...faults].join(", ");
}

function light() {
  const silent = Date.now() - lastFrame > 5000;
  element("dot").className = lastFrame === 0 ? "" : silent ? "lost" : "live";
  element("dot").title = lastFrame === 0 ? "waiting for the first frame" : silent ? "no frames" : "live";
}

let events;
function listen() {
  if (events) events.close();
  // Every stream tells the events from the first on.
  element("notes").replaceChildren();
  events = new EventSource(`events?camera=${figuresOf()}`);
  let drawn = 0;
  events.addEventListener("cameras", (event) => choices(Number(event.data)));
  events.addEventListener("result", (event) => {
    lastFrame = Date.now();
    // Five times a second is enough for the eye.
    if (lastFrame - drawn >= 200) {
      drawn = lastFrame;
      legend(JSON.parse(event.data).classes);
    }
  });
  events.addEventListener("stats", (event) => statistics(JSON.parse(event.data)));
  events.addEventListener("note", (event) => {
    const { unix_ms, text, warning } = JSON.parse(event.data);
    element("notes").prepend(node("li", { className: warning ? "warning" : "" }, node("time", { textContent: new Date(unix_ms).toLocaleTimeString() }), text));
    while (element("notes").children.length > 100) element("notes").lastChild.remove();
  });
  const failed = events;
  events.onerror = () => {
    failed.close();
    setTimeout(() => {
      if (events !== failed) return;
      // The program may have been started anew, with other cameras.
      showPicture();
      listen();
    }, 2000);
  };
}

document.querySelectorAll("[data-mode]").forEach((button) => button.addEventListener("click", () => {
  look.mode = button.dataset.mode;
  changed();
}));
element("opacity").addEventListener("input", (event) => {
  look.opacity = Number(event.target.value);
  changed();
});
element("picture").addEventListener("error", pictureFailed);
setInterval(light, 500);
changed();
listen();
