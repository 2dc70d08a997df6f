// The frame of the page: where we are, whether we hear healer, and who is asked to sign in.

import { announce, button } from "./control.js";
import { h, say } from "./dom.js";
import { link, run, tables, token, useToken } from "./feed.js";
import { Home, Incident, mayAct } from "./incidents.js";
import { Canaries, Decisions, Health, Limits, Rules, Workloads } from "./views.js";
import { tick } from "./words.js";

const PAGES = [["", "Now", Home], ["workloads", "Workloads", Workloads], ["canaries", "Canaries", Canaries],
  ["limits", "Limits", Limits], ["rules", "Rules", Rules], ["decisions", "Decisions", Decisions], ["health", "Health", Health]];

const [main, place, live, nav, notices] = ["main", "place", "live", "nav", "notices"].map((id) => document.getElementById(id));
const items = PAGES.map(([path, title]) => {
  const count = h("span", {});
  const anchor = h("a", { href: `#/${path}` }, title, count);
  nav.append(h("li", {}, anchor));
  return { path, anchor, count };
});

let view = null;
let signing = null;

function route() {
  const [path = "", ...rest] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  const found = PAGES.find(([name]) => name === path);
  view = path === "incidents" && rest.length === 2 ? new Incident(...rest) : new (found?.[2] ?? Home)();
  for (const { path: name, anchor } of items) {
    if (name === path || (path === "incidents" && !name)) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (!signing) show();
}

function show() {
  main.replaceChildren(view.node);
  scrollTo(0, 0);
  draw();
  main.focus({ preventScroll: true });
}

const SAID = { live: "live", away: "not connected, trying again", connecting: "connecting …", locked: "signed out" };

function notice(head) {
  const found = [];
  if (link.known && head.paused) found.push([`healer is paused everywhere: ${head.paused}`, mayAct()
    && button("resume", { name: "everything" }, "Resume …")]);
  if (link.known && head.mode === "observe") found.push(["healer only observes: it changes nothing."]);
  if (link.known && !head.leads) {
    found.push([head.leader
      ? `${head.leader} leads, and this replica shows what it knows itself: incidents may be old.${link.why ? ` ${link.why}.` : ""}`
      : "Nobody leads: nothing is decided at the moment."]);
  }
  return found;
}

let noticed = "";

function draw() {
  queued = false;
  const head = tables.head.get("") ?? {};
  say(place, [head.cluster, head.mode && head.mode !== "enforce" ? `mode ${head.mode}` : ""].filter(Boolean).join(" · "));
  say(live, SAID[link.state]);
  live.className = `live ${link.state === "live" ? "on" : link.state === "away" ? "off" : ""}`;
  const all = notice(head);
  const words = JSON.stringify(all.map(([text]) => text)) + mayAct();
  if (words !== noticed) {
    notices.replaceChildren(...all.map((each) => h("div", { class: "notice" }, each)));
    noticed = words;
  }
  let needed = 0;
  for (const row of tables.incidents.values()) needed += row.waitsFor ? 1 : 0;
  items[0].count.className = needed ? "count" : "";
  say(items[0].count, needed ? String(needed) : "");
  const title = `${needed ? `(${needed}) ` : ""}${view.title} · healer${head.cluster ? ` · ${head.cluster}` : ""}`;
  if (document.title !== title) document.title = title;
  if (link.known && !signing) {
    view.update();
    main.setAttribute("data-known", "");
  }
}

let queued = false;
function changed() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(draw);
}

function locked(status) {
  return new Promise((go) => {
    const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const wrong = status === 401 && token() ? "This token is not the right one." : status === 403
      ? "healer does not let this address in without a token. From your own machine: kubectl port-forward -n healer svc/healer 8080" : "";
    useToken("");
    signing = h("form", { class: "card sign" }, h("h1", { tabindex: "-1" }, "Sign in"),
      h("p", {}, "This healer shows what it knows to those with a token, as HEALER_HTTP__READ_TOKEN_FILE has it. It is kept until you close this tab."),
      wrong && h("p", { class: "error", role: "alert" }, wrong),
      h("p", { class: "row" }, h("label", { for: "token" }, "Token"), input, h("button", { class: "main" }, "Sign in")));
    signing.addEventListener("submit", (event) => {
      event.preventDefault();
      useToken(input.value.trim());
      signing = null;
      show();
      announce("signed in");
      go();
    });
    main.replaceChildren(signing);
    input.focus();
  });
}

addEventListener("hashchange", route);
setInterval(tick, 5000);
setInterval(changed, 5000);
route();
run(changed, locked);
