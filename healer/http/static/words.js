// Times, states and numbers in words.

import { h, say } from "./dom.js";

let ahead = 0; // seconds by which healer's clock is ahead of this browser's
export const now = () => Date.now() / 1000 + ahead;
export const clockIs = (at) => { ahead = at - Date.now() / 1000; };

export const counted = (number, word, many = `${word}s`) => `${number} ${number === 1 ? word : many}`;

export const times = (number) => (number === 0 ? "not once" : number === 1 ? "once" : number === 2 ? "twice" : `${number} times`);

export function lasting(seconds) {
  const value = Math.max(0, seconds);
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 90 * 60) return `${Math.round(value / 60)} min`;
  if (value < 36 * 3600) return `${(value / 3600).toFixed(value < 36000 ? 1 : 0)} h`;
  return `${Math.round(value / 86400)} days`;
}

const away = (at) => { const since = now() - at; return since >= -1 ? `${lasting(since)} ago` : `in ${lasting(-since)}`; };

export const seconds = (time) => (typeof time === "string" ? Date.parse(time) / 1000 : time);

// A time that stays right: "3 min ago", and the date and time as its title.
export function ago(time) {
  const at = seconds(time);
  const date = new Date(at * 1000);
  return h("time", { "data-at": at, datetime: date.toISOString(), title: date.toLocaleString() }, away(at));
}

export function tick() {
  for (const node of document.querySelectorAll("time[data-at]")) say(node, away(Number(node.dataset.at)));
}

export const hour = (time) => new Date(seconds(time) * 1000).toLocaleTimeString([], { hour12: false });

const STATES = { open: "busy", waiting: "warn", acting: "busy", verifying: "busy", healed: "well", escalated: "bad", closed: "" };
const AT_WORK = { open: "seen", waiting: "waiting", acting: "acting", verifying: "checking" };
const TONES = { urgent: "bad", good: "well", warning: "warn", info: "" };

// The colour and the word for an incident; while healer is at work, what it does.
export const tone = (row) => (row.waitsFor === "approval" ? "warn" : !row.waitsFor && !isOver(row) ? STATES[row.state] ?? ""
  : row.state === "closed" && row.tone === "good" && !row.verdict.startsWith("over:") ? "" : TONES[row.tone] ?? "");
export const stateWord = (row) => (row.waitsFor === "approval" ? "needs your approval" : row.waitsFor ? "needs you"
  : isOver(row) || row.mode === "observe" ? row.verdict.replace("healer only observes", "observing") : AT_WORK[row.state] ?? row.state);
export const stateTone = (state) => STATES[state] ?? "";

export const isOver = (row) => row.state === "healed" || row.state === "closed";
export const target = (it) => `${it.kind.toLowerCase()}/${it.name}`;
export const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);
export const percent = (share) => (share ? `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %` : "0 %");
export const short = (rule) => rule.split("/").pop();
