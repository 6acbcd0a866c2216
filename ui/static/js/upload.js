// Uploads: a file in pieces, each where the last one ended. A cut connection, a restart of Core or a reload of the page cost
// only what was under way: the same file chosen again goes on. The digest is taken here, as the file is read.
import { Sha256 } from "./sha256.js";

const PIECE = 8 << 20;
const TRIES = 40;
const QCOW2 = [0x51, 0x46, 0x49, 0xfb];

export function upload() {
  const form = document.querySelector("form[data-upload]");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.dataset.busy !== undefined) return;
    form.dataset.busy = "";
    const shown = new Shown(form);
    const leaving = (left) => left.preventDefault();
    window.addEventListener("beforeunload", leaving);
    try {
      await sendAll(form, shown);
      form.reset();
      shown.end("");
    } catch (error) {
      shown.end(error.message, error.hint, error.code);
    }
    window.removeEventListener("beforeunload", leaving);
    delete form.dataset.busy;
  });
}

class Shown {
  constructor(form) {
    this.box = form.querySelector(".upload-progress");
    this.bar = this.box.querySelector("progress");
    this.text = this.box.querySelector("output");
    this.problem = form.querySelector(".upload-problem");
    this.button = form.querySelector("button:not([type=button])");
    this.stop = this.box.querySelector("button");
    this.box.hidden = false;
    this.problem.hidden = true;
    this.button.disabled = true;
    this.stopped = new AbortController();
    this.stop.onclick = () => this.stopped.abort();
    this.began = Date.now();
  }

  at(done, size, from) {
    this.bar.value = size ? done / size : 0;
    const seconds = (Date.now() - this.began) / 1000;
    const rate = seconds > 1 ? ` · ${((done - from) / 1048576 / seconds).toFixed(0)} MiB/s` : "";
    this.text.textContent = `${Math.floor((100 * done) / size)} % · ${(done / 1048576).toFixed(0)} / ${(size / 1048576).toFixed(0)} MiB${rate}`;
  }

  end(message, hint = "", code = "") {
    this.box.hidden = true;
    this.button.disabled = false;
    this.problem.hidden = !message;
    this.problem.querySelector("strong").textContent = message;
    this.problem.querySelector("span").textContent = hint ? ` ${hint} ` : " ";
    this.problem.querySelector("code").textContent = code;
  }
}

async function sendAll(form, shown) {
  const file = form.elements.file.files[0];
  const fields = new FormData(form);
  fields.delete("file");
  fields.set("size", file.size);
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  fields.set("format", QCOW2.every((byte, at) => head[at] === byte) ? "qcow2" : "raw");
  const token = form.elements.form_token.value;
  const base = form.action.replace(/\/upload$/, "");
  const { id } = await ask(`${base}/upload`, { method: "POST", body: new URLSearchParams(fields) });
  const place = `${base}/${id}`;
  const digest = new Sha256();
  let hashed = 0;
  let from = -1;
  for (let tries = 0; ; tries++) {
    try {
      let { received } = await ask(`${place}/received`, {});
      if (from < 0) from = received;
      while (received < file.size) {
        hashed = await hash(digest, file, hashed, received, shown);
        received = (await put(`${place}/content`, file, received, token, shown, from)).received;
        tries = 0;
      }
      await hash(digest, file, hashed, file.size, shown);
      break;
    } catch (error) {
      const again = !error.code || error.code === "upload_offset" || error.code === "upload_busy" || error.status >= 500;
      if (error.name === "AbortError" || error.code === "disk_full" || !again || tries >= TRIES) throw error;
      await new Promise((go) => setTimeout(go, Math.min(5000, 500 * 2 ** tries)));
    }
  }
  const body = new URLSearchParams({ form_token: token, sha256: digest.hex() });
  await ask(`${place}/finish`, { method: "POST", body });
}

async function hash(digest, file, from, to, shown) {
  while (from < to) {
    shown.stopped.signal.throwIfAborted();
    const end = Math.min(to, from + (1 << 20));
    digest.update(new Uint8Array(await file.slice(from, end).arrayBuffer()));
    from = end;
  }
  return from;
}

// fetch() tells nothing of how far a body was sent; XMLHttpRequest does.
function put(url, file, offset, token, shown, from) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `${url}?offset=${offset}`);
    request.setRequestHeader("X-Form-Token", token);
    request.responseType = "json";
    request.upload.onprogress = (event) => shown.at(offset + event.loaded, file.size, from);
    request.onerror = () => failed(new Error("offline"));
    request.onabort = () => failed(shown.stopped.signal.reason);
    request.onload = () => (request.status === 200 ? done(request.response) : failed(problem(request.response, request.status)));
    shown.stopped.signal.throwIfAborted();
    shown.stopped.signal.addEventListener("abort", () => request.abort());
    request.send(file.slice(offset, offset + PIECE));
  });
}

async function ask(url, options) {
  const answer = await fetch(url, options);
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw problem(said, answer.status);
  return said;
}

function problem(said, status) {
  const words = said ?? {};
  return Object.assign(new Error(words.message ?? `HTTP ${status}`), { code: words.code ?? "http", hint: words.hint ?? "", status });
}
