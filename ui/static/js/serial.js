// A guest's serial port as a terminal, by xterm.js. What the guest sends is only ever shown, never read as anything else.
import { byId, connected, keepOpen } from "./channel.js";

const encoder = new TextEncoder();
const terminal = new globalThis.Terminal({
  cursorBlink: true,
  fontFamily: "ui-monospace, 'DejaVu Sans Mono', monospace",
  fontSize: 14,
  scrollback: 5000,
  theme: { background: "#0b0d10", foreground: "#d9dee7" },
});
const fit = new globalThis.FitAddon.FitAddon();
terminal.loadAddon(fit);
terminal.open(byId("display"));
fit.fit();
new ResizeObserver(() => fit.fit()).observe(byId("display"));

let port = null;
const send = (bytes) => { if (port?.readyState === WebSocket.OPEN) port.send(bytes); };
terminal.onData((text) => send(encoder.encode(text)));
terminal.onBinary((text) => send(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));

keepOpen("serial", (socket) => {
  port = socket;
  socket.addEventListener("open", () => { connected(); terminal.focus(); });
  socket.addEventListener("message", (event) => terminal.write(new Uint8Array(event.data)));
  return () => socket.close();
});
