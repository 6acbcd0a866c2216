// What the consoles have in common: a ticket, a websocket, words for what goes on, and coming back after an end.
const { guest, token } = document.body.dataset;
const words = JSON.parse(document.body.dataset.words);
const PAUSES_S = [1, 2, 4, 8, 15];
export const byId = (id) => document.getElementById(id);
let tries = 0;
let waiting = 0;

// ``attach(socket)`` takes a socket that is being opened, and gives what ends it.
export function keepOpen(port, attach) {
  let end = null;

  async function connect() {
    clearTimeout(waiting);
    say(words.connecting);
    let path;
    try {
      const answer = await fetch(`/guests/${guest}/${port}/ticket`, { method: "POST", headers: { "X-Form-Token": token, "HX-Request": "true" } });
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
    socket.addEventListener("close", (event) => { end = null; later(words.ended, event.reason); });
    end = attach(socket);
  }

  function later(title, why) {
    const pause = PAUSES_S[Math.min(tries++, PAUSES_S.length - 1)];
    notice(title, why);
    say(words.retry.replace("{s}", pause));
    waiting = setTimeout(connect, pause * 1000);
  }

  byId("again").addEventListener("click", () => { tries = 0; if (end) end(); else connect(); });
  byId("full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()));
  document.body.addEventListener("toast", (event) => say([event.detail.title, event.detail.hint ?? ""].join(" ")));
  connect();
}

export function connected() { tries = 0; notice(""); say(words.connected); }

export function say(text) { byId("says").textContent = text; }

function notice(title, why = "") {
  const box = byId("notice");
  box.hidden = !title;
  box.querySelector("h2").textContent = title;
  box.querySelector("p").textContent = why;
}
