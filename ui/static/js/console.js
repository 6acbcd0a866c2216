// A guest's display in the whole window, by noVNC.
import RFB from "../vendor/novnc/core/rfb.js";
import { initLogging } from "../vendor/novnc/core/util/logging.js";
import keysyms from "../vendor/novnc/core/input/keysymdef.js";
import { byId, connected, keepOpen } from "./channel.js";

const RETURN = 0xff0d;
const TAB = 0xff09;
initLogging("none"); // what goes wrong is told on the page
let rfb = null;

keepOpen("console", (socket) => {
  rfb = new RFB(byId("display"), socket, {});
  rfb.scaleViewport = true;
  rfb.background = "#0b0d10";
  rfb.addEventListener("connect", () => { connected(); rfb.focus(); });
  rfb.addEventListener("disconnect", () => { rfb = null; });
  rfb.addEventListener("clipboard", (event) => { byId("text").value = event.detail.text; });
  return () => rfb?.disconnect();
});

byId("keys").addEventListener("click", () => { rfb?.sendCtrlAltDel(); rfb?.focus(); });
byId("paste").addEventListener("click", () => { rfb?.clipboardPasteFrom(byId("text").value); rfb?.focus(); });
byId("type").addEventListener("click", () => {
  for (const letter of byId("text").value) {
    const keysym = { "\n": RETURN, "\t": TAB }[letter] ?? keysyms.lookup(letter.codePointAt(0));
    rfb?.sendKey(keysym, null);
  }
  rfb?.focus();
});
