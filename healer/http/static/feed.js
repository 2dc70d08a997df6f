// The state of healer, kept up to date by its stream. EventSource sends no token, so that the stream is read by hand.

import { clockIs } from "./words.js";

export const tables = { head: new Map(), checks: new Map(), incidents: new Map(), workloads: new Map(), canaries: new Map(),
  limits: new Map(), rules: new Map(), activity: new Map() };
export const link = { state: "connecting", why: "", passedOn: "", known: false };

const TOKEN = "healer-token";
export const token = () => sessionStorage.getItem(TOKEN) ?? "";
export const useToken = (text) => (text ? sessionStorage.setItem(TOKEN, text) : sessionStorage.removeItem(TOKEN));

export class NotLetIn extends Error {
  constructor(status) { super(`healer answers ${status}`); this.status = status; }
}

export async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const answer = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options, headers });
  if (answer.status === 401 || answer.status === 403) throw new NotLetIn(answer.status);
  return answer;
}

export async function askJson(path, options) {
  const answer = await ask(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error + (found.hint ? `: ${found.hint}` : ""));
  return found;
}

function take(kind, text) {
  const { at, set = {}, gone = {} } = JSON.parse(text);
  clockIs(at);
  if (kind === "whole") for (const table of Object.values(tables)) table.clear();
  for (const [name, rows] of Object.entries(set)) for (const [key, row] of Object.entries(rows)) tables[name]?.set(key, row);
  for (const [name, keys] of Object.entries(gone)) for (const key of keys) tables[name]?.delete(key);
  link.known = true;
}

const SILENT = 35000; // ms; healer says something every 10 s

async function follow(changed) {
  const stop = new AbortController();
  let alarm = 0;
  const alive = () => { clearTimeout(alarm); alarm = setTimeout(() => stop.abort(), SILENT); };
  alive();
  try {
    const answer = await ask("state/stream", { signal: stop.signal });
    if (!answer.ok) throw new Error((await answer.json()).error ?? `healer answers ${answer.status}`);
    link.passedOn = answer.headers.get("X-Healer-From") ?? "";
    link.why = answer.headers.get("X-Healer-Why") ?? "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const kind = /^event: (.*)$/m.exec(event)?.[1];
        const data = /^data: (.*)$/m.exec(event)?.[1];
        if (kind && data) { take(kind, data); link.state = "live"; changed(); }
      }
    }
  } finally {
    clearTimeout(alarm);
  }
}

// Follows for ever. `changed` is called after every change; `locked` returns when there may be a better token.
export async function run(changed, locked) {
  let wait = 500;
  for (;;) {
    try {
      await follow(changed);
      wait = 500;
    } catch (error) {
      if (error instanceof NotLetIn) {
        link.state = "locked";
        changed();
        await locked(error.status);
        wait = 0;
      } else wait = Math.min(10000, 2 * wait + 250);
    }
    link.state = link.state === "locked" ? "connecting" : "away";
    changed();
    await new Promise((go) => setTimeout(go, wait));
  }
}
