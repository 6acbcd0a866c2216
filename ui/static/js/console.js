// The console: a guest's display in the whole window. It reconnects by itself and says why when it can't.
import RFB from "../vendor/novnc/core/rfb.js";
import { initLogging } from "../vendor/novnc/core/util/logging.js";

const { guest, token } = document.body.dataset;
const words = JSON.parse(document.body.dataset.words);
const byId = (id) => document.getElementById(id);
const PAUSES_S = [1, 2, 4, 8, 15];
initLogging("none"); // what goes wrong is told on the page
let rfb = null;
let tries = 0;
let waiting = 0;

async function connect() {
  clearTimeout(waiting);
  say(words.connecting);
  let path;
  try {
    const answer = await fetch(`/guests/${guest}/console/ticket`, { method: "POST", headers: { "X-Form-Token": token, "HX-Request": "true" } });
    if (!answer.ok) {
      const told = JSON.parse(answer.headers.get("HX-Trigger") ?? "{}").toast;
      if (answer.status === 401) { location.href = "/login?next=" + encodeURIComponent(location.pathname); return; }
      return later(words.refused, told ? `${told.title} ${told.hint}` : "");
    }
    path = (await answer.json()).path;
  } catch {
    return later(words.gone, "");
  }
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}${path}`);
  socket.binaryType = "arraybuffer";
  let reason = "";
  socket.addEventListener("close", (event) => { reason = event.reason; });
  rfb = new RFB(byId("display"), socket, {});
  rfb.scaleViewport = true;
  rfb.background = "#0b0d10";
  rfb.addEventListener("connect", () => { tries = 0; notice(""); say(words.connected); rfb.focus(); });
  rfb.addEventListener("disconnect", () => { rfb = null; later(words.ended, reason); });
  rfb.addEventListener("securityfailure", (event) => { reason = event.detail.reason ?? ""; });
}

function later(title, why) {
  const pause = PAUSES_S[Math.min(tries++, PAUSES_S.length - 1)];
  notice(title, why);
  say(words.retry.replace("{s}", pause));
  waiting = setTimeout(connect, pause * 1000);
}

function say(text) { byId("says").textContent = text; }

function notice(title, why = "") {
  const box = byId("notice");
  box.hidden = !title;
  box.querySelector("h2").textContent = title;
  box.querySelector("p").textContent = why;
}

byId("keys").addEventListener("click", () => { rfb?.sendCtrlAltDel(); rfb?.focus(); });
byId("again").addEventListener("click", () => { tries = 0; if (rfb) rfb.disconnect(); else connect(); });
byId("full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()));
document.body.addEventListener("toast", (event) => say([event.detail.title, event.detail.hint ?? ""].join(" ")));
connect();
