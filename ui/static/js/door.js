// The doors (login, first visit, password): the rule is checked while one types. The server decides.
const RULES = {
  length: (text) => text.length >= 8 && text.length <= 256,
  digit: (text) => /[0-9]/.test(text),
  lower: (text) => /\p{Ll}/u.test(text),
  upper: (text) => /\p{Lu}/u.test(text),
};

for (const list of document.querySelectorAll("[data-rules]")) {
  const input = document.getElementById(list.dataset.rules);
  const show = () => {
    for (const item of list.children) item.classList.toggle("is-met", RULES[item.dataset.rule](input.value));
  };
  input.addEventListener("input", show);
  show();
}

for (const input of document.querySelectorAll("[data-same-as]")) {
  const other = document.getElementById(input.dataset.sameAs);
  const hint = input.parentElement.querySelector("[data-differs]");
  const show = () => { hint.hidden = !input.value || other.value.startsWith(input.value) || input.value === other.value; };
  input.addEventListener("input", show);
  other.addEventListener("input", show);
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
