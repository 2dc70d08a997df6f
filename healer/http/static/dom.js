// Elements, and lists that change only what has changed. Texts become text nodes, so that nothing of a cluster is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return node;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

const FOCUSABLE = "a, button, input, select";

function replace(old, fresh) {
  const at = old.contains(document.activeElement) ? [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement) : -1;
  old.replaceWith(fresh);
  if (at >= 0) fresh.querySelectorAll(FOCUSABLE)[at]?.focus({ preventScroll: true });
}

const FIRST = 60;
const MORE = 60;

// A list of rows. `items` are [key, what it shows, ...]: a row is drawn again only when one of these is another one.
// Of many only the first are drawn; more follow while somebody scrolls there.
export class List {
  constructor(draw, { tag = "ul", none = "", name = "" } = {}) {
    this.draw = draw;
    this.none = none;
    this.shown = new Map();
    this.most = FIRST;
    this.items = [];
    this.list = h(tag, { class: "list", "aria-label": name || null });
    this.end = h("div", { class: "none small-text" });
    this.node = h("div", {}, this.list, this.end);
    this.watch = new IntersectionObserver((seen) => {
      if (!seen.some((each) => each.isIntersecting) || this.most >= this.items.length) return;
      this.most += MORE;
      this.update(this.items);
    }, { rootMargin: "600px" });
    this.watch.observe(this.end);
  }

  update(items) {
    this.items = items;
    const shown = new Map();
    let before = null;
    for (const [key, ...what] of items.slice(0, this.most)) {
      const old = this.shown.get(key);
      let node = old?.node;
      if (!old || old.what.length !== what.length || what.some((each, at) => each !== old.what[at])) {
        node = this.draw(...what);
        if (old) replace(old.node, node);
      }
      shown.set(key, { node, what });
      const place = before ? before.nextSibling : this.list.firstChild;
      if (place !== node) this.list.insertBefore(node, place);
      before = node;
    }
    for (const [key, { node }] of this.shown) if (!shown.has(key)) node.remove();
    this.shown = shown;
    const left = items.length - shown.size;
    this.end.textContent = left > 0 ? `${left} more follow` : items.length ? "" : this.none;
    this.list.hidden = !items.length;
    if (left > 0) {  // an observer tells only of a change: look anew whether the end is in sight
      this.watch.unobserve(this.end);
      this.watch.observe(this.end);
    }
  }
}

// Sets a node's text only where it is another one.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
