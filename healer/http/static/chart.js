// Charts as SVG: a canary's evidence against what a verdict needs, and two shares with their intervals.

import { svg } from "./dom.js";
import { hour, percent } from "./words.js";

const WIDTH = 640;
const HEIGHT = 170;
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 12, 14, 24];

const whole = (number) => Math.round(number).toLocaleString("en");

export function evidence(measure) {
  const points = measure.line.length ? measure.line : [[0, measure.evidence]];
  const [from, to] = [points[0][0], points[points.length - 1][0]];
  const most = 1.15 * Math.max(measure.needed, ...points.map(([, value]) => value), 1e-9);
  const least = Math.min(0, ...points.map(([, value]) => value));
  const x = (at) => LEFT + (to > from ? (at - from) / (to - from) : 1) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - least) / (most - least)) * (HEIGHT - TOP - BOTTOM);
  const path = points.map(([at, value], number) => `${number ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const label = `Evidence against the canary in ${measure.name}: ${measure.evidence.toFixed(2)} now, `
    + `${measure.needed.toFixed(2)} makes it bad; ${points.length} looks`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(0), y2: y(0) }),
    svg("line", { class: "needed", x1: LEFT, x2: WIDTH - RIGHT, y1: y(measure.needed), y2: y(measure.needed) }),
    svg("text", { x: LEFT + 4, y: y(measure.needed) - 5 }, "bad from here"),
    svg("text", { x: LEFT - 6, y: y(measure.needed) + 4, "text-anchor": "end" }, measure.needed.toFixed(1)),
    svg("text", { x: LEFT - 6, y: y(0) + 4, "text-anchor": "end" }, "0"),
    from && svg("text", { x: LEFT, y: HEIGHT - 6 }, hour(from)),
    to > from && svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, hour(to)),
    svg("path", { class: "evidence", d: path }),
    svg("circle", { class: "end", cx: x(to), cy: y(points[points.length - 1][1]), r: 4 }));
}

export function shares(measure) {
  const sides = [["canary", measure.canary], ["stable", measure.stable]].filter(([, share]) => share);
  const most = Math.max(0.001, ...sides.map(([, share]) => share.high)) * 1.05;
  const x = (share) => 70 + (share / most) * (WIDTH - 70 - 150);
  const tall = 30 * sides.length + 6;
  const rate = (share) => (share.requests ? share.bad / share.requests : 0);
  const label = sides.map(([name, share]) => `${name}: ${percent(rate(share))} of ${whole(share.requests)} requests are bad, `
    + `between ${percent(share.low)} and ${percent(share.high)}`).join("; ");
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${tall}`, role: "img", "aria-label": label },
    sides.map(([name, share], number) => {
      const y = 18 + 30 * number;
      return svg("g", {},
        svg("text", { x: 0, y: y + 4 }, name),
        svg("line", { class: "grid", x1: 70, x2: WIDTH - 150, y1: y, y2: y }),
        svg("line", { class: "range", x1: x(share.low), x2: x(share.high), y1: y, y2: y }),
        svg("circle", { class: "point", cx: x(rate(share)), cy: y, r: 4.5 }),
        svg("text", { x: WIDTH, y: y + 4, "text-anchor": "end" }, `${percent(rate(share))} of ${whole(share.requests)}`));
    }));
}
