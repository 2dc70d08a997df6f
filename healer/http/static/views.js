// The other pages: workloads, canaries, limits, rules, decisions, and the health of healer itself.

import { evidence, shares } from "./chart.js";
import { button } from "./control.js";
import { List, h, say } from "./dom.js";
import { askJson, link, tables } from "./feed.js";
import { mayAct } from "./incidents.js";
import { ago, chip, counted, hour, lasting, now, percent, short, target, times } from "./words.js";

class Page {
  constructor(title, lead, parts) {
    this.title = title;
    this.node = h("div", {}, h("h1", { tabindex: "-1" }, title), h("p", { class: "lead" }, lead), parts);
  }
}

function find(about, changed) {
  const input = h("input", { type: "search", id: "find", placeholder: about, oninput: changed });
  return { input, node: h("div", { class: "filter" }, h("label", { for: "find" }, "Find"), input),
    fits: (text) => input.value.trim().toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word)) };
}

function workload(row, acts) {
  const lacks = row.desired - row.ready;
  const ill = row.units.filter((unit) => !unit.ready);
  const missing = Math.max(0, row.desired - row.units.length - row.more);
  const about = { name: target(row.target), namespace: row.target.namespace };
  const serving = row.units.filter((unit) => unit.ready).length;
  return h("li", { class: `card ${lacks > 0 ? "bad" : ""}`, "data-workload": row.target.name },
    h("div", { class: "head" }, h("h2", {}, target(row.target)), h("span", { class: "soft" }, `in ${row.target.namespace}`),
      row.rollout && chip("rolls out", "busy"), row.paused && chip("paused", "warn"),
      h("span", { class: "end" }, chip(`${row.ready} of ${row.desired} ready`, lacks > 0 ? "bad" : "well"))),
    row.rollout && h("p", { class: "why small-text" }, row.rollout), row.paused && h("p", { class: "why small-text" }, row.paused),
    h("div", { class: "dots", role: "img", "aria-label": `${counted(serving, "unit")} ready, ${ill.length + missing} not` },
      row.units.map((unit) => h("span", { class: unit.ready ? "dot" : "dot bad", title: `${unit.name}${unit.why && `: ${unit.why}`}` })),
      Array.from({ length: Math.min(missing, 50) }, () => h("span", { class: "dot gone", title: "wanted, and not there" }))),
    row.more > 0 && h("p", { class: "soft small-text" }, `and ${row.more} more`),
    ill.slice(0, 5).map((unit) => h("p", { class: "why small-text" }, h("strong", {}, unit.name), ` ${unit.why}`)),
    acts && h("div", { class: "do" }, row.paused ? button("resume", about, "Resume …") : button("pause", about, "Pause …")));
}

export class Workloads extends Page {
  constructor() {
    const found = find("workload, namespace, paused", () => this.update());
    const list = new List(workload, { none: "no rule is about a workload that there is", name: "Workloads" });
    super("Workloads", "Those that a rule is about; first the ones that lack replicas. A dot is a unit: a pod, or pods that live together.",
      [found.node, list.node]);
    Object.assign(this, { found, list });
  }

  update() {
    const acts = mayAct();
    const lacks = (row) => row.ready < row.desired;
    const rows = [...tables.workloads].filter(([key, row]) => this.found.fits(
      `${key} ${row.paused && "paused"} ${row.rollout && "rollout"}`));
    rows.sort(([a, one], [b, other]) => lacks(other) - lacks(one) || (a < b ? -1 : 1));
    this.list.update(rows.map(([key, row]) => [key, row, acts]));
  }
}

const VERDICTS = { GOOD: "well", BAD: "bad" };
const verdict = (kind) => VERDICTS[kind.toUpperCase()] ?? "";

function canary(row) {
  return h("li", { class: `card ${verdict(row.verdict)}` },
    h("div", { class: "head" }, h("h2", {}, target(row.workload)),
      h("span", { class: "soft" }, `in ${row.workload.namespace} · ${short(row.rule)} · ${row.route}`),
      h("span", { class: "end" }, chip(row.verdict.toLowerCase(), verdict(row.verdict)))),
    h("p", { class: "why" }, row.text),
    h("p", { class: "soft small-text" }, `It has ${percent(row.weight)} of the traffic; judged `, ago(row.at), "."),
    h("div", { class: "gauge", role: "img", "aria-label": `share of the traffic: ${percent(row.weight)}` }, bar(row.weight)),
    row.measures.map((measure) => h("section", {},
      h("h3", { class: "measure" }, measure.name, " ", chip(measure.verdict.toLowerCase(), verdict(measure.verdict))),
      h("p", { class: "small-text" }, measure.text),
      evidence(measure), shares(measure))));
}

function bar(share) {
  const filled = h("div", {});
  filled.style.width = `${Math.min(100, Math.max(0, 100 * share)).toFixed(1)}%`;
  return filled;
}

export class Canaries extends Page {
  constructor() {
    const list = new List(canary, { none: "no canary was judged since this healer leads", name: "Canaries" });
    super("Canaries", "The evidence against each canary: what crosses the dashed line is bad. Below it the shares of bad requests, each with the interval that holds it with 95 % confidence.",
      [list.node]);
    this.list = list;
  }

  update() {
    this.list.update([...tables.canaries].reverse());
  }
}

const LIMITS = [["breaker", "Breakers", "What opens stops healer, until it is quiet again or somebody approves."],
  ["budget", "Budgets", "Actions that are still allowed."], ["cooldown", "Cooldowns", "Time after an action in which there is no next one."]];

function limit(row) {
  const share = row.most ? row.used / row.most : 0;
  const cooling = row.kind === "cooldown";
  const kind = row.open ? (cooling ? "warn" : "bad") : share >= 0.8 && !cooling ? "warn" : "";
  const about = [row.rule && short(row.rule), row.workload && target(row.workload), row.namespace && `in ${row.namespace}`]
    .filter(Boolean).join(" · ") || "the whole cluster";
  const text = cooling ? `${lasting(row.used)} of ${lasting(row.most)} passed` : `${row.used} of ${row.most}`;
  return h("li", { class: `card small ${kind}` },
    h("div", { class: "head" }, h("h3", {}, about), h("span", { class: "soft" }, row.kind),
      row.open && chip(row.kind.includes("breaker") ? "open: nothing is done" : cooling ? "cooling down" : "used up for now", kind),
      h("span", { class: "end soft" }, text, row.until !== null && row.until > now() && [", more ", ago(row.until)])),
    h("div", { class: `gauge ${kind}`, role: "img", "aria-label": `${row.kind}: ${text}` }, bar(share)));
}

export class Limits extends Page {
  constructor() {
    const lists = LIMITS.map(([word, title, text]) => [word, new List(limit, { none: "none is in use", name: title }), title, text]);
    super("Limits", "What keeps healer from doing too much. Those that were used lately are here.",
      lists.map(([, list, title, text]) => h("section", {}, h("h2", {}, title), h("p", { class: "soft small-text" }, text), list.node)));
    this.lists = lists;
  }

  update() {
    for (const [word, list] of this.lists) {
      const rows = [...tables.limits].filter(([, row]) => row.kind.includes(word));
      list.update(rows.sort(([, a], [, b]) => b.open - a.open || b.used / b.most - a.used / a.most));
    }
  }
}

function rule(row, did) {
  const scope = JSON.stringify(row.scope);
  return h("li", { class: "card", "data-rule": row.name },
    h("div", { class: "head" }, h("h2", {}, row.name), chip(row.mode, row.mode === "observe" ? "" : "busy"),
      row.written && h("span", { class: "soft small-text" }, `its file says ${row.written}`),
      row.origin && h("span", { class: "soft small-text" }, row.origin),
      h("span", { class: "end soft small-text" }, did ? ["last opened ", ago(did.openedAt), `, ${did.state}`] : "never opened an incident that is kept")),
    h("p", { class: "why" }, `${row.trigger}: ${row.names.join(", ") || "any"}`),
    row.description && h("p", { class: "soft small-text" }, row.description),
    did && h("p", { class: "small-text" }, did.dry ? `In observe it would have acted ${times(did.actions)} this week`
      : `It acted ${times(did.actions)} this week`, `; ${counted(did.incidents, "incident")} kept.`),
    h("p", { class: "soft small-text" }, row.pods === null ? "" : `Covers ${counted(row.pods, "pod")} of ${counted(row.workloads, "workload")}. `,
      scope !== "{}" && h("code", {}, scope)),
    row.doubts.map((doubt) => h("p", { class: "error small-text" }, doubt)));
}

function loading({ at = 0, digest = "", problems = [], refused = [] }) {
  const wrong = (title, texts) => texts.length ? [h("section", { class: "card bad" }, h("h3", {}, title),
    texts.map((text) => h("p", { class: "error small-text" }, text)))] : [];
  return [h("p", { class: "soft" }, "Loaded at ", new Date(at * 1000).toLocaleString(), ", digest ", h("code", {}, digest)),
    ...wrong("The rule files have errors: the last good rules stay in force", problems),
    ...wrong("RuleSets of the cluster that are refused", refused)];
}

export class Rules extends Page {
  constructor() {
    const found = find("rule, trigger, mode", () => this.update());
    const list = new List(rule, { none: "no rule is loaded", name: "Rules" });
    const loaded = h("div", { id: "loaded" });
    super("Rules", "The rules in force, with what each did last and this week.", [loaded, found.node, list.node]);
    Object.assign(this, { found, list, loaded, drawn: "" });
  }

  update() {
    const state = tables.head.get("")?.loaded ?? {};
    const drawn = JSON.stringify(state);
    if (drawn !== this.drawn) {
      this.loaded.replaceChildren(...loading(state));
      this.drawn = drawn;
    }
    const rows = [...tables.rules].sort(([a], [b]) => (a < b ? -1 : 1));
    this.list.update(rows.filter(([, row]) => this.found.fits(`${row.name} ${row.mode} ${row.trigger} ${row.names.join(" ")}`))
      .map(([key, row]) => [key, row, tables.activity.get(row.name)]));
  }
}

const DECIDED = { act: "busy", refuse: "bad", defer: "warn", escalate: "bad", heal: "well", approve: "well" };

function decision(row) {
  return h("li", { class: "card small" }, h("div", { class: "head" },
    h("span", { class: "soft", title: new Date(row.at).toLocaleString() }, hour(row.at)), chip(row.decision, DECIDED[row.decision] ?? ""),
    h("strong", {}, target(row.target)), h("span", { class: "soft" }, `in ${row.target.namespace || "the cluster"} · ${short(row.rule) || "no rule"}`),
    row.incident && h("a", { class: "end small-text",
      href: `#/incidents/${encodeURIComponent(row.target.namespace)}/${encodeURIComponent(row.incident)}` }, row.incident)),
  h("p", { class: "why small-text" }, row.reason.text));
}

export class Decisions extends Page {
  constructor() {
    const found = find("pod, rule, reason, namespace", () => this.draw());
    const list = new List(decision, { none: "no decision fits", name: "Decisions" });
    const trouble = h("p", { class: "error", role: "status" });
    super("Decisions", "The last thousand decisions, the refusals too, newest first.", [found.node, trouble, list.node]);
    Object.assign(this, { found, list, trouble, rows: [], asked: 0, busy: false });
  }

  update() {
    if (this.busy || Date.now() - this.asked < 3000) return;
    this.load();
  }

  async load() {
    this.busy = true;
    try {
      const { decisions } = await askJson("decisions");
      const known = new Map(this.rows.map(([key, row]) => [key, row]));
      const key = (row) => `${row.at} ${row.decision} ${row.rule} ${row.incident} ${row.target.uid || row.target.name} ${row.reason.text}`;
      this.rows = decisions.reverse().map((row) => [key(row), known.get(key(row)) ?? row]);
      say(this.trouble, "");
    } catch (error) {
      say(this.trouble, error.message);
    }
    [this.asked, this.busy] = [Date.now(), false];
    this.draw();
  }

  draw() {
    this.list.update(this.rows.filter(([, row]) => this.found.fits(
      `${row.decision} ${row.rule} ${row.incident} ${row.target.namespace} ${target(row.target)} ${row.reason.text}`)));
  }
}

function check(row) {
  return h("li", { class: `card small ${row.ok ? "" : "bad"}` }, h("div", { class: "head" },
    chip(row.ok ? "well" : "not well", row.ok ? "well" : "bad"), h("h3", {}, row.name)),
  h("p", { class: "why small-text soft" }, row.text));
}

export class Health extends Page {
  constructor() {
    const list = new List(check, { none: "nothing is known", name: "Checks" });
    const facts = h("dl", {});
    const acts = h("div", { class: "do" });
    super("Health of healer", "healer itself: who leads, how fresh its watches are, whether it can write and tell.",
      [facts, acts, h("h2", {}, "Checks"), list.node]);
    Object.assign(this, { list, facts, acts, drawn: "" });
  }

  update() {
    const head = tables.head.get("") ?? {};
    const rows = [["Version", head.version], ["Cluster", head.cluster || "no name is set"], ["Mode", head.mode],
      ["Leader", head.leader || (head.leads ? "this replica, without an election" : "nobody")],
      ["You are asking", head.leads ? (link.passedOn === "leader" ? "a follower, which passes this on to the leader" : "the leader")
        : "a follower"],
      ["Paused", head.paused || "no"]];
    const drawn = JSON.stringify([rows, mayAct()]);
    if (drawn !== this.drawn) {
      this.facts.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
      this.acts.replaceChildren(...(mayAct() ? [button(head.paused ? "resume" : "pause", { name: "everything" },
        head.paused ? "Resume everything …" : "Pause everything …")] : []));
      this.drawn = drawn;
    }
    this.list.update([...tables.checks].sort(([a, one], [b, other]) => one.ok - other.ok || (a < b ? -1 : 1)));
  }
}
