// Every page behind the login: live parts, palette, menus, confirmations, toasts, copying, times that stay true.
import "./door.js";
import { live } from "./live.js";
import { charts } from "./charts.js";
import { past } from "./past.js";
import { upload } from "./upload.js";

const words = JSON.parse(document.body.dataset.words);
const byId = (id) => document.getElementById(id);

// Confirmation: what would be lost is said in the page's own words.
document.body.addEventListener("htmx:confirm", (event) => {
  const text = event.detail.elt.dataset?.confirm;
  if (!text) return;
  event.preventDefault();
  const dialog = byId("confirm");
  const asker = event.detail.elt;
  asker.dataset.asking = ""; // what is asked about stays on the page until it is answered
  const yes = dialog.querySelector("[value=yes]");
  dialog.querySelector("h2").textContent = asker.dataset.confirmButton;
  dialog.querySelector("p").textContent = text;
  yes.textContent = asker.dataset.confirmButton;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "yes") event.detail.issueRequest(true);
    delete asker.dataset.asking;
    dialog.dispatchEvent(new Event("toggle"));
  }, { once: true });
  dialog.showModal();
});

// Toasts: the server says what was begun or why not.
document.body.addEventListener("toast", (event) => toast(event.detail));
document.body.addEventListener("htmx:sendError", () => toast({ kind: "error", title: words.stale.replace("{at}", new Date().toLocaleTimeString()) }));

function toast({ kind, title, hint = "", code = "", link = "" }) {
  const made = byId("toast").content.firstElementChild.cloneNode(true);
  if (kind === "error") {
    made.classList.add("error");
    const use = made.querySelector("use");
    use.setAttribute("href", use.getAttribute("href").replace("st-done", "st-crashed"));
  }
  made.querySelector("strong").textContent = title;
  if (link) {
    const more = Object.assign(document.createElement("a"), { href: link, textContent: title });
    made.querySelector("strong").replaceChildren(more);
  }
  made.querySelector("p").textContent = hint;
  made.querySelector("code").textContent = code;
  made.querySelector("button").addEventListener("click", () => made.remove());
  byId("toasts").append(made);
  while (byId("toasts").children.length > 4) byId("toasts").firstElementChild.remove();
  setTimeout(() => made.remove(), kind === "error" ? 12_000 : 5_000);
}

// The palette: "/" or Ctrl-K, arrows, Enter.
const palette = byId("palette");
const query = palette.querySelector("input");
let entered = false; // Enter was pressed before the answer to what is typed had come
const answered = () => byId("found").querySelector("ul").dataset.text === query.value.trim().toLowerCase();
const hits = () => [...palette.querySelectorAll("#found a")];

function openPalette() {
  query.value = "";
  palette.showModal();
  htmx.trigger(query, "find");
  query.focus();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !typing)) {
    event.preventDefault();
    if (!palette.open) openPalette();
  } else if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    byId("rail").classList.remove("open");
  }
});
palette.addEventListener("keydown", (event) => {
  const list = hits();
  const at = list.findIndex((hit) => hit.classList.contains("picked"));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = (at + (event.key === "ArrowDown" ? 1 : -1) + list.length) % (list.length || 1);
    list.forEach((hit, index) => hit.classList.toggle("picked", index === next));
    list[next]?.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter") {
    event.preventDefault();
    if (answered()) (list[at] ?? list[0])?.click();
    else entered = true;
  } else {
    entered = false;
  }
});
byId("found").addEventListener("htmx:afterSettle", () => { if (entered && answered()) hits()[0]?.click(); });
palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-palette], [data-fold], [data-open-rail], [data-fill]");
  if (byId("rail").classList.contains("open") && !event.target.closest("#rail, [data-open-rail]")) byId("rail").classList.remove("open");
  if (!target) return;
  if (target.dataset.copy !== undefined) copy(target);
  if (target.dataset.palette !== undefined) openPalette();
  if (target.dataset.openRail !== undefined) byId("rail").classList.toggle("open");
  if (target.dataset.fold !== undefined) fold();
  if (target.dataset.fill !== undefined) fill(target);
});

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const field = Object.assign(document.createElement("textarea"), { value: button.dataset.copy });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.classList.add("copied");
  button.title = words.copied;
  setTimeout(() => button.classList.remove("copied"), 1200);
}

function fold() {
  const narrow = document.documentElement.dataset.rail !== "narrow";
  if (narrow) document.documentElement.dataset.rail = "narrow";
  else delete document.documentElement.dataset.rail;
  document.cookie = `nano_rail=${narrow ? "narrow" : "wide"}; Path=/; SameSite=Strict; Max-Age=31536000`;
}

// Presets: a button that fills fields of its form ("cores=2 memory=4").
function fill(button) {
  const form = button.closest("form");
  for (const pair of button.dataset.fill.split(" ")) {
    const [name, value] = pair.split("=");
    form.elements[name].value = value;
  }
  form.elements.cores.dispatchEvent(new Event("input", { bubbles: true }));
}

// "3 minutes ago" stays true.
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
setInterval(() => {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const passed = (new Date(time.dateTime) - Date.now()) / 1000;
    const size = Math.abs(passed);
    time.textContent = size < 5 ? words.justnow
      : size < 60 ? relative.format(Math.round(passed), "second")
      : size < 3600 ? relative.format(Math.round(passed / 60), "minute")
      : size < 86400 ? relative.format(Math.round(passed / 3600), "hour")
      : relative.format(Math.round(passed / 86400), "day");
  }
}, 10_000);

// CPU of each guest in a table.
document.addEventListener("usage", (event) => {
  for (const [id, percent] of Object.entries(event.detail.guests ?? {})) {
    const cell = document.querySelector(`[data-load="${id}"]`);
    if (cell) cell.textContent = Math.round(percent) + "\u00a0%";
  }
});

// Chosen rows of a list: one box ticks all; ticks stay when a row is had anew, and go when what was chosen is asked for.
const chosen = new Set();
const tick = (box, on) => { box.checked = on; chosen[on ? "add" : "delete"](box.name); };
document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches(".pick")) tick(box, box.checked);
  if (box.matches("[data-pick-all]")) box.closest("table").querySelectorAll(".pick").forEach((one) => tick(one, box.checked));
});
document.addEventListener("htmx:afterSettle", () => document.querySelectorAll(".pick").forEach((box) => tick(box, chosen.has(box.name))));
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && event.detail.pathInfo.requestPath.startsWith("/guests/batch/")) document.querySelectorAll(".tick input").forEach((box) => tick(box, false));
});

live();
charts();
past();
upload();
