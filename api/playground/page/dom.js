/** Elements made of text only: the words of a caller, a model or a tool are never parsed as HTML. */

export const $ = (selector) => document.querySelector(selector);

/** `el("p.about", {title: "…"}, "text", child)`: attributes and children in any order, empty ones left out. */
export function el(tag, ...content) {
  const [name, kind] = tag.split(".");
  return filled(document.createElement(name), [kind && { class: kind }, ...content]);
}

export function svg(tag, ...content) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), content);
}

function filled(made, content) {
  for (const part of content.filter(Boolean)) {
    if (part instanceof Node || typeof part === "string") made.append(part);
    else for (const [name, value] of Object.entries(part)) made.setAttribute(name, value);
  }
  return made;
}

/** `{"city": "Paris", "days": 2}` as `city: "Paris", days: 2`. */
export function called(args) {
  return Object.entries(args ?? {}).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ");
}

/** Milliseconds for people: `412 ms`, `2.4 s`. */
export function took(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
