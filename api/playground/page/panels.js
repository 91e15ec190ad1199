/** What goes on inside: drawn from /playground/state, and only where it has changed. */

import { $, called, el, svg, took } from "./dom.js";

const TURNS = 5;
const TICKS = [100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000]; // ms
const drawn = new Map();

export function show(state) {
  panel("tools", state.own && { tools: state.tools, errors: state.tool_errors }, drawTools);
  panel("pending", state.pending, drawPending);
  panel("memory", state.own && { entries: state.memory, language: state.language }, drawMemory);
  const turns = state.turns?.filter(({ kind, first_words }) => kind !== "welcome" || first_words !== null) ?? [];
  panel("turns", turns.length ? turns.slice(-TURNS) : null, drawTurns);
  $("#save").hidden = !state.own;
  $("#demo").hidden = !state.demo;
  $("#model").hidden = !state.model;
  $("#model").textContent = state.demo ? "Demo, no model" : state.model;
  showWires(state.missing_wires ?? {});
  $("#webhook").hidden = !state.webhook || $("#wire").value !== "layercode";
  $("#webhook").textContent = `Webhook: ${state.webhook}`;
}

function showWires(missing) {
  const options = [...$("#wire").options];
  for (const option of options) option.disabled = option.value in missing;
  const sentences = options.filter(({ disabled }) => disabled).map(({ value, text }) => `${text}: ${missing[value]}`);
  $("#missing").hidden = !sentences.length;
  if ($("#missing").dataset.of === sentences.join()) return;
  $("#missing").dataset.of = sentences.join();
  $("#missing").replaceChildren(...sentences.map((sentence) => el("li", sentence)));
}

function panel(name, content, draw) {
  const section = $(`#${name}`);
  const text = JSON.stringify(content ?? null);
  const running = name === "turns" && content?.some((turn) => turn.outcome === "running");
  if (drawn.get(name) === text && !running) return;
  drawn.set(name, text);
  section.hidden = !content;
  if (content) draw(content, section.querySelector(".body"), section);
}

function drawTools({ tools, errors }, list, section) {
  list.replaceChildren(...(tools ?? []).map(tool));
  if (!tools?.length) list.append(el("li.none", "There is none yet. Save one in the tools folder."));
  section.querySelector(".errors").replaceChildren(...(errors ?? []).map((error) => el("li", error)));
}

function tool({ name, description, confirm, file }) {
  const asks = confirm && el("span.asks", { title: confirm }, "asks first");
  const title = el("p", el("code", name), asks, el("span.file", file?.split("/").slice(-2).join("/")));
  return el("li", title, el("p.about", description?.trim().split("\n")[0]));
}

function drawPending({ question, tool: name, arguments: args, heard }, body) {
  const was = heard ? "It was heard. A yes runs it, once." : "If it is heard to its end, a yes runs it, once.";
  const call = el("code", `${name}(${called(args)})`);
  body.replaceChildren(el("p.question", question), call, el("p.about", was));
}

function drawMemory({ entries, language }, list) {
  list.replaceChildren(...entries.flatMap(remembered));
  if (language) list.append(line("language", "language", language));
  if (!entries.length) list.append(el("li.none", "Nothing yet."));
  list.scrollTop = list.scrollHeight;
}

function remembered(entry) {
  if ("caller" in entry) return [line("caller", "you", entry.caller)];
  if ("tool" in entry) return [line("tool", "result", el("code", `${entry.tool}: `), entry.result)];
  const calls = (entry.calls ?? []).map((call) => el("code", `${call.name}(${called(call.arguments)})`));
  const cut = entry.interrupted && el("em", entry.agent ? " — interrupted, as far as heard" : "interrupted, unheard");
  const said = entry.agent || cut ? [line("agent", "agent", entry.agent, cut)] : [];
  return [...said, ...calls.map((call) => line("calls", "calls", call))];
}

function line(kind, who, ...what) {
  return el(`li.${kind}`, el("b", who), el("span", ...what));
}

/** The last turns, one under the other, all to the same scale, the newest first. */
function drawTurns(turns, list, section) {
  const lengths = turns.map(length);
  const longest = Math.max(...lengths, 200);
  const tick = TICKS.find((ms) => longest / ms <= 5) ?? 60000;
  const whole = Math.ceil(longest / tick) * tick;
  const ticks = Array.from({ length: whole / tick + 1 }, (_, at) => at * tick);
  list.replaceChildren(...turns.map((turn, at) => drawTurn(turn, lengths[at], whole, ticks)).reverse());
  section.querySelector(".axis").replaceChildren(...ticks.map((ms) => tickText(ms, whole)));
}

function tickText(ms, whole) {
  const anchor = { 0: "start", [whole]: "end" }[ms] ?? "middle";
  return svg("text", { x: `${(100 * ms) / whole}%`, y: 10, "text-anchor": anchor }, ms ? took(ms) : "0");
}

/** ms; of a turn that still runs: until now. */
function length(turn) {
  const ends = [...turn.tools.map(({ at, ms }) => at + (ms ?? 0)), ...turn.model_calls.map((call) => call.end ?? 0)];
  const now = turn.outcome === "running" ? Date.now() - turn.began * 1000 : 0;
  return Math.max(turn.end ?? 0, turn.end === null ? now : 0, ...ends);
}

function drawTurn(turn, end, whole, ticks) {
  const at = (ms) => `${((100 * ms) / whole).toFixed(2)}%`;
  const mark = (kind, ms) => svg("line", { class: kind, x1: at(ms), x2: at(ms), y1: 0, y2: 28 });
  const bar = (kind, from, to, y, what) => {
    const place = { x: at(from), width: at(Math.max(to - from, whole / 250)), y, height: 9, rx: 2 };
    return svg("rect", { class: kind, ...place }, svg("title", `${what}: ${took(from)} to ${took(to)}`));
  };
  const calls = turn.model_calls;
  const spoken = calls.filter((call) => call.first_token !== null);
  const figures = figuresOf(turn, end);
  const picture = svg(
    "svg",
    { role: "img", "aria-label": `Timeline: ${figures.map(([name, ms]) => `${name} ${took(ms)}`).join(", ")}` },
    ...ticks.map((ms) => mark("grid", ms)),
    ...calls.map((call) => bar("wait", call.at, call.first_token ?? call.end ?? end, 3, "waiting for the model")),
    ...spoken.map((call) => bar("speak", call.first_token, call.end ?? end, 3, "the model’s words")),
    ...turn.tools.map((call) => bar("tool", call.at, call.ms === null ? end : call.at + call.ms, 16, call.name)),
    turn.first_words !== null && mark("first", turn.first_words),
  );
  const outcome = el("span.outcome", { "data-is": turn.outcome }, turn.outcome);
  const asked = turn.text || (turn.kind === "message" ? "(no words)" : turn.kind);
  const told = figures.map(([name, ms]) => el("span", `${name} `, el("b", took(ms))));
  return el("li", el("p.asked", el("span", asked), outcome), picture, el("p.figures", ...told));
}

function figuresOf(turn, end) {
  const tools = turn.tools.map(({ name, ms }) => [name, ms]);
  const last = turn.outcome === "running" ? "so far" : "end";
  const all = [["first token", turn.first_token], ["first words", turn.first_words], ...tools, [last, turn.end ?? end]];
  return all.filter(([, ms]) => ms !== null);
}
