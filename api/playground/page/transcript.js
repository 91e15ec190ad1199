/**
 * The conversation as it is said: one list item per utterance, growing while it streams. An answer’s text is kept to the
 * letter, white space included, as what was heard of it is told in characters.
 */

import { called, el, took } from "./dom.js";

const SENTENCE = /^\s*\p{Lu}\S*\s.*[.!?…]$/su;
const SYSTEM_NOTES = /^(⟦[^⟧]*⟧\n?)+/; // what the model is told of the call, before the caller’s words
const STATES = { started: "running", progress: "running" };

export class Transcript {
  #items = new Map(); // turn → its list item
  #tools = new Map(); // call → its row

  constructor(log, scroll) {
    this.log = log;
    this.scroll = scroll;
  }

  get empty() {
    return !this.log.childElementCount;
  }

  clear() {
    this.log.replaceChildren();
    this.#items.clear();
    this.#tools.clear();
  }

  /** What the caller says; `final` when it will not change any more. */
  caller(turn, text, final) {
    const item = this.#item(`caller ${turn}`, "caller", "You");
    item.classList.toggle("interim", !final);
    item.lastChild.replaceChildren(el("p", text));
    if (final) this.#items.delete(`caller ${turn}`);
    this.#follow();
  }

  /** More words of an answer. */
  words(turn, text) {
    const body = this.#answer(turn);
    let words = body.lastElementChild;
    if (!words?.matches(".words")) {
      words = el("p.words");
      body.append(words);
    }
    words.append(document.createTextNode(text));
    this.#follow();
  }

  /** How a tool call stands. */
  tool(turn, { tool, status, call_id: call, ms, text }) {
    const body = this.#answer(turn);
    markProgress(body.lastElementChild, text);
    if (status === "progress") return;
    const row = this.#tools.get(call) ?? toolRow(tool);
    if (!row.parentNode) body.append(row);
    this.#tools.set(call, row);
    setTool(row, { state: STATES[status] ?? status, ms: status === "started" ? null : ms });
    this.#follow();
  }

  /** What a tool shows. */
  shown(turn, data) {
    const text = typeof data === "string" ? data : JSON.stringify(data, null, 2);
    this.#answer(turn).append(el("figure.shown", el("figcaption", "shown by the tool"), el("pre", text)));
    this.#follow();
  }

  /** The answer was cut: mark what was not heard. */
  heard(turn, { characters, words, of }) {
    if (!of && !this.#items.has(turn)) return;
    const body = this.#answer(turn);
    let left = characters;
    for (const piece of body.querySelectorAll(".words, .progress")) {
      const said = piece.textContent;
      const cut = said.slice(left);
      const hint = el("span.sr", " (not heard:) ");
      if (cut.trim()) piece.replaceChildren(said.slice(0, left), el("del", hint, cut));
      left = Math.max(0, left - said.length);
    }
    body.querySelector(".interrupted")?.remove();
    const much = words ? `${words} of ${of} words were heard` : "nothing was heard";
    body.append(el("p.interrupted", `Interrupted: ${much}`));
    this.ended(turn);
  }

  ended(turn) {
    this.#items.get(turn)?.removeAttribute("aria-busy");
  }

  endAll() {
    for (const turn of this.#items.keys()) this.ended(turn);
  }

  /** Add a note of the page itself. kind: "note" or "error". */
  note(text, kind = "note") {
    this.log.append(el(`li.${kind}`, text));
    this.#follow();
  }

  /** What the server knows of the calls shown: their arguments, and how they ended, be it after their turn. */
  learn(turns) {
    for (const { call, arguments: args, state, result, ms } of turns.flatMap((turn) => turn.tools ?? [])) {
      const row = this.#tools.get(call);
      if (row) setTool(row, { args, state: STATES[state] ?? state, result, ms });
    }
  }

  /** A conversation that began before this page did, from what is in memory. */
  restore(memory) {
    const calls = [];
    let turn = "before";
    for (const [at, entry] of memory.entries()) {
      const said = entry.caller?.replace(SYSTEM_NOTES, "");
      if (said) this.caller((turn = `before ${at}`), said, true);
      else if ("caller" in entry) continue;
      else if ("tool" in entry) this.#answer(turn).append(doneTool(entry, calls));
      else {
        calls.push(...(entry.calls ?? []));
        if (entry.agent) this.words(turn, entry.agent);
        if (entry.interrupted) this.#answer(turn).append(el("p.interrupted", "Interrupted here"));
      }
      this.ended(turn);
    }
    if (memory.length) this.note("You are back in this conversation. Above is what is in memory.");
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  #answer(turn) {
    const item = this.#items.get(turn) ?? this.#item(turn, "agent", "Agent");
    return item.lastChild;
  }

  #item(key, kind, who) {
    let item = this.#items.get(key);
    if (!item) {
      item = el(`li.${kind}`, kind === "agent" && { "aria-busy": true }, el("span.who", who), el("div"));
      this.#items.set(key, item);
      this.log.append(item);
    }
    return item;
  }

  /** Keep the end in view, unless it was scrolled up. */
  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    if (scrollHeight - scrollTop - clientHeight < 250) this.scroll.scrollTop = scrollHeight;
  }
}

/** The line before a tool's start is the tool's, not the model's, if it came as one sentence in one piece. */
function markProgress(words, text) {
  const line = words?.matches(".words") ? words.lastChild : null;
  if (!line || (text ? line.data.trim() !== text.trim() : !SENTENCE.test(line.data))) return;
  line.remove();
  const before = words.textContent;
  words.after(el("p.progress", before.trim() ? "" : before, line.data));
  if (!before.trim()) words.remove();
}

function toolRow(name) {
  const call = el("code", el("b", name), el("span.args"));
  return el("div.call-card", el("p.call", call, el("span.state")), el("p.result"));
}

/** From memory: its arguments are those of the first call of that name that has no result yet. */
function doneTool({ tool, result }, calls) {
  const made = calls.findIndex((call) => call.name === tool);
  const row = toolRow(tool);
  setTool(row, { args: made < 0 ? null : calls.splice(made, 1)[0].arguments, state: "finished", result });
  return row;
}

function setTool(row, { args, state, result, ms }) {
  const part = (name) => row.querySelector(name);
  if (args) part(".args").textContent = `(${called(args)})`;
  if (result) part(".result").textContent = result;
  if (ms !== null && ms !== undefined) row.dataset.ms = ms;
  row.dataset.state = state;
  const length = row.dataset.ms && state !== "running" ? ` · ${took(Number(row.dataset.ms))}` : "";
  part(".state").textContent = (state === "running" ? "running …" : state) + length;
}
