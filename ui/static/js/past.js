// Time travel: moving along the scale shows the page of another moment. What is shown always comes from the server.
//
//   #scale   the form with the range (whole seconds since 1970) for the page in its action; its hidden fields are the filters
//   #then    the banner and what is shown of one moment, fetched anew with ?part=then

export function past() {
  const scale = document.getElementById("scale");
  if (!scale) return;
  const range = scale.elements.seconds;
  const shown = scale.querySelector("output");
  scale.querySelector("button").hidden = true; // letting go of the thumb is enough
  let wanted = null;
  let isBusy = false;

  // One request at a time; of the moments wished for meanwhile only the last is fetched.
  async function show(address) {
    wanted = address;
    if (isBusy) return;
    isBusy = true;
    try {
      while (wanted) {
        const next = wanted;
        wanted = null;
        await htmx.ajax("GET", next + "&part=then", { target: "#then", swap: "outerHTML" });
        history.replaceState(null, "", next);
        if (!wanted) follow();
      }
    } finally {
      isBusy = false;
    }
  }

  function follow() {
    const { seconds, moment } = document.getElementById("then").dataset;
    if (!seconds) return;
    range.value = seconds;
    say(moment);
  }

  function say(text) {
    shown.textContent = text;
    range.setAttribute("aria-valuetext", text);
  }

  function chosen() {
    const query = new URLSearchParams(new FormData(scale));
    query.delete("seconds");
    query.set("at", new Date(range.value * 1000).toISOString().replace(".000", ""));
    return scale.getAttribute("action") + "?" + query;
  }

  const step = (way) => document.querySelector(`#then [data-step=${way}][href]`)?.getAttribute("href");
  const KEYS = {
    ArrowLeft: () => step("back"), ArrowDown: () => step("back"),
    ArrowRight: () => step("on"), ArrowUp: () => step("on"),
    Home: () => scale.dataset.first, End: () => scale.dataset.last,
  };

  range.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const address = isBusy ? null : KEYS[event.key]();
    if (address) show(address);
  });
  range.addEventListener("input", () => say(new Date(range.value * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC"));
  range.addEventListener("change", () => show(chosen()));
  scale.addEventListener("submit", (event) => { event.preventDefault(); show(chosen()); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#then [data-step][href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (!isBusy) show(link.getAttribute("href"));
  });
}
