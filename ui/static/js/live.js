// Keeps the page true. One event stream tells what changed; every element that shows it asks for its own fragment again.
//
//   data-live="guest.list cell" data-url="/guests?part=list"   the topics an element shows, and where it is had anew
//   <table data-rows="guests"> <tr id="guest-<id>" data-live="guest.<id>">   the same for rows: /guests/<id>/row
// The stream is closed while nobody looks (browsers allow few connections a site); on return it tells what was missed.

const words = JSON.parse(document.body.dataset.words);
const watch = document.body.dataset.watch;
const stale = document.getElementById("stale");
const HIDDEN_MS = 20_000;
let mark = document.body.dataset.mark; // how far what is shown has come; the server tells what was missed since
let source = null;
let lostAt = null;
let hiding = 0;

export function live() {
  connect();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(disconnect, HIDDEN_MS);
    else if (!source) connect();
  });
  window.addEventListener("pagehide", disconnect);
  document.body.addEventListener("htmx:beforeSwap", keep);
  document.body.addEventListener("htmx:beforeSwap", (event) => remember(event.detail.target));
  document.body.addEventListener("htmx:afterSettle", (event) => glow(event.detail.elt));
  document.addEventListener("usage", measured);
  document.addEventListener("toggle", letGo, true);
  document.body.addEventListener("htmx:afterRequest", letGo);
}

function connect() {
  source = new EventSource("/events?" + new URLSearchParams({ since: mark, watch }));
  source.addEventListener("open", () => { lostAt = null; });
  source.addEventListener("error", () => {
    if (!lostAt) { lostAt = new Date(); say(words.stale.replace("{at}", clock(lostAt))); }
    if (source && source.readyState === EventSource.CLOSED) { disconnect(); setTimeout(() => { if (!source && !document.hidden) connect(); }, 3000); }
  });
  source.addEventListener("changed", (event) => { mark = event.lastEventId; changed(JSON.parse(event.data)); });
  source.addEventListener("usage", (event) => document.dispatchEvent(new CustomEvent("usage", { detail: JSON.parse(event.data) })));
  source.addEventListener("link", (event) => {
    const since = JSON.parse(event.data).away_since;
    if (since) htmx.ajax("GET", location.pathname, { target: "#stale", select: "#stale", swap: "outerHTML" });
    else say("");
  });
  source.addEventListener("over", () => { disconnect(); location.href = "/login?next=" + encodeURIComponent(location.pathname + location.search); });
}

function disconnect() {
  if (source) source.close();
  source = null;
}

function say(text) {
  const line = document.getElementById("stale");
  line.hidden = !text;
  if (text) line.querySelector("span").textContent = text;
}

// What shows measurements (data-measured) is had anew now and then.
const MEASURED_MS = 6_000;
let measuredAt = Date.now();

function measured() {
  if (Date.now() - measuredAt < MEASURED_MS) return;
  measuredAt = Date.now();
  screens();
  for (const element of document.querySelectorAll("[data-measured]")) if (!isUsed(element)) refresh(element);
}

// Pictures of screens too, those that are in sight: a large one each time, small ones every fourth.
let screensAt = 0;

function screens() {
  const every = screensAt++ % 4 ? "[data-screen=large]" : "[data-screen]";
  for (const picture of document.querySelectorAll(every)) {
    const { top, bottom } = picture.getBoundingClientRect();
    if (bottom < 0 || top > innerHeight) continue;
    const next = new Image(); // shown when it is there whole; until then the one before stays
    next.onload = () => { if (picture.isConnected) picture.src = next.src; };
    next.src = picture.src.split("?")[0] + "?t=" + Date.now();
  }
}

function isUsed(element) {
  return element.querySelector("details.menu[open], form[data-typed], form.htmx-request, [data-asking], [data-told], input:not([type=checkbox]):focus, select:focus, textarea:focus");
}

// A form of a panel that somebody has begun to fill in is theirs until it is sent.
document.addEventListener("input", (event) => event.target.closest("[data-live] form")?.setAttribute("data-typed", ""));

// A secret that somebody had shown stays until they ask for something else there: having it told is a change, too.
document.addEventListener("submit", (event) => event.target.closest("[data-live]")?.querySelector("[data-told]")?.removeAttribute("data-told"));

// Elements a person is using right now (open menu, focused field) wait until they are done.
const held = new Set();

function letGo() {
  const topics = [...held];
  held.clear();
  if (topics.length) changed(topics);
}

// A fragment that was asked for before somebody began to use what it replaces comes too late: it is had anew afterwards.
function keep(event) {
  const { elt, target } = event.detail;
  if (elt !== target || !target.dataset?.live || !isUsed(target)) return;
  event.detail.shouldSwap = false;
  target.dataset.live.split(" ").forEach((topic) => held.add(topic));
}

function changed(topics) {
  const all = topics.includes("*");
  for (const element of document.querySelectorAll("[data-live]")) {
    const shown = element.dataset.live.split(" ");
    if (!all && !shown.some((topic) => topics.includes(topic))) continue;
    if (isUsed(element)) shown.forEach((topic) => held.add(topic));
    else refresh(element);
  }
}

// At most one request for an element at a time; what changes meanwhile is asked for once more.
const busy = new WeakSet();
const again = new WeakSet();

async function refresh(element) {
  if (busy.has(element)) { again.add(element); return; }
  busy.add(element);
  const url = element.dataset.url ?? `/${element.closest("[data-rows]").dataset.rows}/${element.id.slice(element.id.indexOf("-") + 1)}/row`;
  const parent = element.parentElement;
  try {
    // Each element asks for itself: of requests with one source, htmx lets the newest replace those that wait.
    await htmx.ajax("GET", url, { source: element, target: element, swap: "outerHTML" });
  } finally {
    busy.delete(element);
    if (again.delete(element)) {
      const now = element.isConnected ? element : element.id ? parent.querySelector("#" + CSS.escape(element.id)) : null;
      if (now) refresh(now);
    }
  }
}

// Menus of long tables are fetched when they open.
document.addEventListener("toggle", (event) => {
  const list = event.target.open && event.target.querySelector?.(".menu-list[data-url]:empty");
  if (list) htmx.ajax("GET", list.dataset.url, { target: list, swap: "innerHTML" });
}, true);

const before = new Map();

function cellsOf(element) {
  return element.querySelectorAll ? element.querySelectorAll("[data-cell]") : [];
}

function keyOf(cell) {
  return (cell.closest("[id]")?.id ?? "") + "/" + cell.dataset.cell;
}

function remember(element) {
  before.clear();
  for (const cell of cellsOf(element)) before.set(keyOf(cell), cell.textContent.trim());
}

function glow(element) {
  for (const cell of cellsOf(element)) {
    const old = before.get(keyOf(cell));
    if (old !== undefined && old !== cell.textContent.trim()) {
      cell.classList.add("glow");
      cell.addEventListener("animationend", () => cell.classList.remove("glow"), { once: true });
    }
  }
}

export function clock(at) {
  return at.toLocaleTimeString(document.documentElement.lang, { hour12: false });
}
