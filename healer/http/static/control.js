// What people do here: each command is shown first, and done when it is confirmed.

import { h } from "./dom.js";
import { NotLetIn, askJson, token, useToken } from "./feed.js";

const NAME = "healer-name";

export function announce(text) { document.getElementById("said").textContent = text; }

const post = (verb, body) => askJson(`control/${verb}`, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

const TITLES = { approve: "Approve this action?", undo: "Undo what healer did?", pause: "Pause healer here?",
  resume: "Let healer go on here?" };
const DONE = { approve: "Approve", undo: "Undo", pause: "Pause", resume: "Resume" };

export function button(verb, asked, label = DONE[verb], main = false) {
  return h("button", { class: main ? "main" : null, onclick: () => open(verb, asked), "data-verb": verb }, label);
}

async function open(verb, asked) {
  const shown = h("pre", { tabindex: "0", "aria-label": "What will be done" }, "looking …");
  const trouble = h("p", { class: "error", role: "alert" });
  const name = h("input", { autocomplete: "name", required: true, value: localStorage.getItem(NAME) ?? "" });
  const secret = h("input", { type: "password", autocomplete: "off" });
  const reason = h("input", { autocomplete: "off" });
  const lasts = h("select", {}, [["", "until somebody resumes"], ["900", "15 minutes"], ["3600", "1 hour"], ["14400", "4 hours"],
    ["86400", "1 day"]].map(([value, text]) => h("option", { value }, text)));
  const locked = h("label", { hidden: true }, "A token that may act here", secret);
  const confirm = h("button", { class: "main", type: "submit" }, DONE[verb]);
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", {}, shown, h("label", {}, "Your name, for the audit", name),
    verb === "pause" && h("label", {}, "Why", reason), verb === "pause" && h("label", {}, "For how long", lasts),
    locked, trouble, h("div", { class: "row" }, confirm, close));
  const dialog = h("dialog", { "aria-labelledby": "asks" }, h("h2", { id: "asks" }, TITLES[verb]), form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  let seen = "";

  async function attempt(work) {
    trouble.textContent = "";
    confirm.disabled = true;
    try {
      return await work();
    } catch (error) {
      if (error instanceof NotLetIn) {
        locked.hidden = false;
        secret.focus();
        trouble.textContent = token() ? "This token may not act here." : "To act takes a token.";
      } else trouble.textContent = error.message;
      return null;
    } finally {
      confirm.disabled = false;
    }
  }

  async function look() {
    const found = await attempt(() => post(verb, { ...asked, look: true }));
    if (found) { seen = found.said; shown.textContent = seen; } else if (shown.textContent === "looking …") shown.textContent = "";
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (secret.value) { useToken(secret.value.trim()); secret.value = ""; locked.hidden = true; }
    if (!seen) { await look(); return; }
    localStorage.setItem(NAME, name.value.trim());
    const body = { ...asked, by: name.value };
    if (verb === "approve" || verb === "undo") body.shown = seen;
    if (verb === "pause") { body.reason = reason.value; if (lasts.value) body.seconds = Number(lasts.value); }
    const done = await attempt(() => post(verb, body));
    if (!done) return;
    shown.textContent = done.said;
    announce(done.said);
    form.replaceChildren(shown, h("div", { class: "row" }, h("button", { type: "button", class: "main",
      onclick: () => dialog.close() }, "Close")));
    form.querySelector("button").focus();
  });
  await look();
}

// A command to type, with a button that copies it.
export function command(text) {
  const copy = h("button", { type: "button", "aria-label": `Copy: ${text}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // a page that came over http may not write to the clipboard
      copy.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2500);
  } }, "Copy");
  const code = h("code", {}, text);
  return h("span", { class: "command" }, code, copy);
}
