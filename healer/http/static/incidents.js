// What needs a human, what healer does, and one incident with its whole story.

import { button, command } from "./control.js";
import { List, h, say } from "./dom.js";
import { askJson, tables } from "./feed.js";
import { ago, chip, counted, hour, isOver, lasting, now, seconds, short, stateTone, stateWord, target, times, tone } from "./words.js";

export const address = (row) => `#/incidents/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}`;
export const mayAct = () => Boolean(tables.head.get("")?.control);

const LINKS = { runbook: "Runbook", dashboard: "Dashboard", alert: "Alert", thread: "Slack thread" };

export const links = (found) => Object.entries(found).filter(([what]) => what !== "page").map(([what, to]) =>
  h("a", { href: to, rel: "noreferrer noopener", target: "_blank" }, `${LINKS[what] ?? what}`));

function ladder(row) {
  if (!row.steps.length) return null;
  const over = isOver(row);
  return h("ol", { class: "ladder", "aria-label": "Ladder of steps" }, row.steps.map((step, number) => {
    const spent = row.state === "escalated";
    const held = row.waitsFor === "human";
    const at = number < row.step || (number === row.step && spent) ? "done" : number === row.step && !over && !held ? "now" : "";
    return h("li", { class: at, "aria-current": at === "now" ? "step" : null }, step);
  }));
}

// An escalated one has ended for healer, and goes on for people.
const took = (row) => (!isOver(row) ? " · lasts so far" : row.endedAt ? ` · lasted ${lasting(row.endedAt - row.openedAt)}` : "");

function incident(row, whole, acts) {
  const small = isOver(row);
  return h("li", { class: `card ${small ? "small" : tone(row)}`, "data-incident": row.name, "data-state": row.state },
    h("div", { class: "head" },
      chip(stateWord(row), tone(row)),
      h("a", { href: address(row) }, target(row.workload)),
      h("span", { class: "soft" }, `in ${row.namespace || "the cluster"} · ${short(row.rule)}`),
      row.mode !== "enforce" && chip(row.mode),
      row.severity === "critical" && !small && chip("critical"),
      h("span", { class: "end soft small-text" }, ago(row.openedAt), took(row))),
    h("p", { class: small ? "why small-text" : "why" }, row.cause),
    row.cause !== row.reason.text && h("p", { class: "why soft small-text" }, row.reason.text),
    !small && ladder(row),
    whole && h("div", { class: "do" },
      acts && row.waitsFor === "approval" && button("approve", { namespace: row.namespace, name: row.name }, "Approve …", true),
      command(row.command), links(row.links)));
}

const newest = (a, b) => b[1].changedAt - a[1].changedAt;

export class Home {
  title = "Now";

  constructor() {
    this.filter = h("input", { type: "search", id: "find", placeholder: "workload, namespace, rule", oninput: () => this.update() });
    this.verdict = h("h1", { tabindex: "-1" });
    this.under = h("p", { class: "lead" });
    const drawn = (whole) => (row, acts) => incident(row, whole, acts);
    this.human = new List(drawn(true), { name: "Needs a human" });
    this.work = new List(drawn(false), { name: "healer is at work" });
    this.over = new List(drawn(false), { name: "Lately over", none: "nothing lately" });
    this.humanPart = h("section", {}, h("h2", {}, "Needs a human"), this.human.node);
    this.workPart = h("section", {}, h("h2", {}, "healer is at work"), this.work.node);
    this.overPart = h("section", {}, h("h2", {}, "Lately over"), this.over.node);
    this.node = h("div", {}, this.verdict, this.under,
      h("div", { class: "filter" }, h("label", { for: "find" }, "Find"), this.filter),
      this.humanPart, this.workPart, this.overPart);
  }

  update() {
    const wanted = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const acts = mayAct();
    const all = [...tables.incidents.entries()];
    const fits = ([, row]) => { const text = `${row.namespace} ${target(row.workload)} ${row.rule} ${row.state} ${row.name}`.toLowerCase();
      return wanted.every((word) => text.includes(word)); };
    const shown = all.filter(fits).sort(newest);
    const rows = (test) => shown.filter(([, row]) => test(row)).map(([key, row]) => [key, row, acts]);
    const human = rows((row) => row.waitsFor);
    const work = rows((row) => !row.waitsFor && !isOver(row));
    const needed = all.filter(([, row]) => row.waitsFor).length;
    const busy = all.filter(([, row]) => !row.waitsFor && !isOver(row)).length;
    this.human.update(human);
    this.work.update(work);
    this.over.update(rows(isOver));
    this.humanPart.hidden = !human.length;
    this.workPart.hidden = !work.length;
    say(this.verdict, needed ? `${counted(needed, "incident needs", "incidents need")} a human`
      : busy ? "Nobody is needed: healer is at work" : "All is well");
    say(this.under, [busy ? `healer is at work on ${counted(busy, "incident")}` : needed ? "" : "there is no open incident",
      units()].filter(Boolean).join("; ") + ".");
  }
}

function units() {
  let [ready, desired, sick] = [0, 0, 0];
  for (const row of tables.workloads.values()) {
    ready += Math.min(row.ready, row.desired);
    desired += row.desired;
    sick += row.ready < row.desired;
  }
  if (!desired) return "";
  const lacking = sick ? `, ${counted(sick, "workload lacks", "workloads lack")} some` : "";
  return `${ready} of ${counted(desired, "replica")} in ${counted(tables.workloads.size, "workload")} ready${lacking}`;
}

export class Incident {
  constructor(namespace, name) {
    this.title = `Incident ${name}`;
    this.key = `${namespace}/${name}`;
    this.path = `state/incidents/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
    this.body = h("div", {}, h("p", { class: "none" }, "looking …"));
    this.node = h("div", {}, h("p", {}, h("a", { href: "#/" }, "← All incidents")), this.body);
    this.drawn = undefined;
  }

  update() {
    const row = tables.incidents.get(this.key) ?? null;
    const acts = mayAct();
    if (this.drawn && this.drawn[0] === row && this.drawn[1] === acts) return;
    this.drawn = [row, acts];
    this.load(row, acts);
  }

  async load(row, acts) {
    try {
      const found = await askJson(this.path);
      const title = this.body.contains(document.activeElement) && document.activeElement.tagName === "H1";
      this.body.replaceChildren(...story(found, row, acts));
      if (title || this.fresh) this.body.querySelector("h1").focus({ preventScroll: true });
    } catch (error) {
      this.body.replaceChildren(h("h1", { tabindex: "-1" }, "No such incident"), h("p", {}, error.message));
    }
  }
}

const DECIDES = ["Allowed", "NeedsApproval", "Storm"]; // the reasons of decisions, where other lines say what was seen or done

const unsaid = (text, sick) => sick.reduce((left, each) => left.replace(` (${each.what})`, ""), text);

// The targets, those that are alike together. While an incident lasts, those that are well again are said; after it all are.
function broken(sick, over) {
  const alike = new Map();
  const well = (one) => !over && !Object.keys(one.signals ?? {}).length;
  for (const each of sick) alike.set(each.what, [...(alike.get(each.what) ?? []), each]);
  return [...alike].slice(0, 5).map(([what, each]) => h("p", {}, each.slice(0, 8).map((one, at) => [at ? ", " : "",
    h("strong", {}, target(one.target)), well(one) && h("span", { class: "soft" }, " (no longer)")]),
  each.length > 8 && ` and ${each.length - 8} more`, `: ${what}`));
}

function outcome(found, row) {
  const end = found.endedAt ? ` It lasted ${lasting(seconds(found.endedAt) - seconds(found.openedAt))}.` : "";
  if (isOver(found)) return `Yes: ${found.words.verdict.replace(/^over: /, "")}.${end}`;
  if (row?.waitsFor === "approval") return "No: it waits for your approval.";
  if (found.state === "escalated") return "No: healer has done what it may. A human is needed.";
  if (row?.waitsFor) return "No: healer holds back. A human is needed.";
  return `No, for ${lasting(now() - seconds(found.openedAt))} now: ${found.words.verdict}.`;
}

function story(found, row, acts) {
  const shown = row ?? { state: found.state, waitsFor: "", mode: found.mode, tone: "info", verdict: found.words.verdict };
  const place = { namespace: found.workload.namespace, name: found.name };
  const sick = Object.values(found.targets ?? {});
  const acted = found.actedAt ?? [];
  const history = found.history ?? [];
  const did = history.filter((entry, at) => entry.state !== "acting" && history[at - 1]?.state === "acting");
  const decided = history.findLast((entry) => DECIDES.includes(entry.reason.code));
  const why = decided && decided.reason.text !== found.reason.text ? unsaid(decided.reason.text, sick) : "";
  const background = found.background ?? {};
  const dry = found.mode === "observe";
  const would = dry ? history.filter((entry) => entry.reason.code.startsWith("Would")).map((entry) => entry.at) : [];
  const moments = dry ? would : acted;
  return [
    h("h1", { tabindex: "-1" }, `${short(found.rule)} on ${target(found.workload)}`),
    h("div", { class: "row" }, chip(stateWord(shown), tone(shown)), chip(found.severity), chip(`mode ${found.mode}`),
      found.storm && chip("storm", "warn"),
      h("span", { class: "soft" }, `in ${found.workload.namespace || "the cluster"} · opened `, ago(found.openedAt))),
    h("div", { class: "answers" },
      h("section", {}, h("h2", {}, "What broke"), (found.storm || !sick.length) && h("p", {}, found.words.cause), broken(sick, isOver(found))),
      h("section", {}, h("h2", {}, "What healer did"),
        h("p", {}, dry && "Nothing: it only observes. ", moments.length
          ? [`${dry ? "It would have acted" : "It has acted"} ${times(moments.length)}, last `, ago(moments[moments.length - 1])]
          : !dry && "Nothing was changed."),
        did.slice(-3).map((entry) => h("p", { class: "small-text soft" }, `${hour(entry.at)} ${entry.reason.text}`)),
        ladder({ steps: found.steps ?? [], step: found.step ?? 0, state: found.state, waitsFor: shown.waitsFor })),
      h("section", {}, h("h2", {}, "Why"), 
        why && h("p", {}, why), h("p", { class: why ? "soft small-text" : null }, why ? "Now: " : "", found.words.reason),
        background.description && h("p", { class: "soft small-text" }, background.description)),
      h("section", {}, h("h2", {}, "Is it over?"), h("p", {}, outcome(found, row)),
        found.next && h("p", { class: "soft small-text" }, `Next: ${found.next.replace(`${found.name}: `, "")}`))),
    h("h2", {}, "What you can do"),
    h("div", { class: "do" },
      acts && row?.waitsFor && button("approve", place, "Approve …", true),
      acts && found.undoable && acted.length > 0 && found.mode !== "observe" && button("undo", place, "Undo …"),
      acts && button("pause", { name: target(found.workload), namespace: place.namespace }, "Pause this workload …"),
      command(found.command), links(found.links)),
    h("h2", {}, "Timeline"),
    h("ol", { class: "timeline" }, history.map((entry, at) => h("li", { class: stateTone(entry.state) },
      h("span", { class: "soft", title: new Date(seconds(entry.at) * 1000).toLocaleString() }, hour(entry.at)),
      h("strong", {}, entry.state), h("span", {}, entry.step !== undefined && found.steps?.length > 1
        && h("span", { class: "soft" }, `step ${entry.step + 1}: `), at ? unsaid(entry.reason.text, sick) : entry.reason.text)))),
    h("h2", {}, "Numbers"),
    h("dl", {}, [
      ["Incident", found.name], ["Rule", found.rule], ["Doing", shown.waitsFor === "human" ? "nothing: a human is needed" : isOver(found) ? "nothing: it is over" : found.doing],
      moments.length > 0 && found.attempt > 0 && ["Attempts on this step", found.attempt],
      ["Targets", `${counted(sick.filter((each) => Object.keys(each.signals ?? {}).length).length, "target")} sick of ${sick.length}`],
      !isOver(found) && found.deadline && ["Must help", ago(found.deadline)],
      found.stableSince && ["Healthy since", ago(found.stableSince)],
      found.wakeAt && ["Looks again", ago(found.wakeAt)],
      (found.approvals ?? []).length && ["Approved", found.approvals.map((each) => h("span", {}, `by ${each.by} `, ago(each.at)))],
      background.asks && ["Asks Prometheus", h("code", {}, background.asks)],
      (found.notify ?? []).length && ["Told", found.notify.join(", ")],
    ].filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  ];
}
