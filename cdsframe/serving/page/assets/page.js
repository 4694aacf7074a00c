// The page's behaviour: asks by the server's own API and shows the answer as it comes. Every text from the server is
// untrusted and enters the page as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const WORDS = { good: ["supported", "high"], fair: ["partly supported", "medium"] };
let running = null;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", failed);
}

function filter() {
  const wanted = {};
  for (const input of $("filter").querySelectorAll("input")) {
    if (input.value.trim()) wanted[input.name] = input.value.trim();
  }
  return wanted;
}

async function offer() { // the values that documents have; without them, the fields take any text
  try {
    const response = await fetch("/v1/values");
    if (!response.ok) return;
    const values = await response.json();
    for (const list of $("filter").querySelectorAll("datalist")) {
      const known = values[list.id.replace("values-", "")] ?? [];
      list.replaceChildren(...known.map((value) => Object.assign(element("option"), { value })));
    }
  } catch { /* the question itself will say that the server cannot be reached */ }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

async function ask() {
  const question = $("question").value.trim();
  if (!question || running) return;
  running = new AbortController();
  busy(true);
  let text = "", found = null;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: running.signal,
      body: JSON.stringify({
        model: document.body.dataset.model,
        messages: [{ role: "user", content: question }],
        stream: true,
        cdsframe: { filter: filter() },
      }),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      text += event.choices[0]?.delta?.content ?? "";
      $("answer").textContent = text;
      found = event.cdsframe ?? found;
    }
    if (!found) throw new Error("the answer broke off");
    show(found);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped. What is shown is not a whole answer.");
    else say("No answer: " + error.message, true);
  } finally {
    busy(false);
    running = null;
  }
}

function busy(on) {
  $("ask").disabled = on;
  $("stop").hidden = !on;
  $("answer").classList.toggle("busy", on);
  $("result").setAttribute("aria-busy", String(on));
  if (!on) return;
  say("Searching the documents and answering …");
  $("result").hidden = false;
  $("answer").textContent = "";
  $("sources").replaceChildren();
  for (const id of ["confidence", "note", "sources-title"]) $(id).hidden = true;
}

function show(found) {
  const cited = found.sources.filter((source) => source.cited).length;
  $("answer").replaceChildren(...linked(found.text, found.markers));
  const { word, probability } = found.confidence;
  const level = Object.keys(WORDS).find((key) => WORDS[key].includes(word)) ?? "poor";
  const percent = probability === null ? "" : ` · ${Math.round(100 * probability)} %`;
  $("confidence").textContent = word + percent;
  $("confidence").className = "badge " + level;
  $("confidence").hidden = Boolean(found.reason);
  const notes = [];
  if (found.abstained && found.sources.length) notes.push("No answer is given. These passages came closest.");
  const doubtful = found.sources.some((source) => source.spans.some((span) => !span.supports));
  if (!found.abstained && doubtful) notes.push("A cited passage does not say all of what the answer says. Read it.");
  if (!found.abstained && found.sources.length && !cited) notes.push("The answer cites no passage: check it yourself.");
  if (found.removed === 1) notes.push("One reference to a passage that does not exist was taken out.");
  if (found.removed > 1) notes.push(`${found.removed} references to passages that do not exist were taken out.`);
  $("note").textContent = notes.join(" ");
  $("note").hidden = !notes.length;
  $("sources-title").hidden = !found.sources.length;
  $("sources").replaceChildren(...found.sources.map(source));
  if (found.reason) return say("No document was searched: the filter matches none. Change it, or leave it empty.", true);
  say(`Done in ${found.timings.total.toFixed(1)} s. Confidence: ${word}${percent}. ` +
    `${cited} of ${found.sources.length} passages cited.`);
}

function linked(text, markers) {
  const letters = Array.from(text); // offsets count code points, JavaScript's strings do not
  const parts = [];
  let position = 0;
  for (const marker of markers) {
    const numbers = letters.slice(marker.start, marker.end).join("").match(/\d+/g);
    parts.push(letters.slice(position, marker.start).join(""), "[");
    numbers.forEach((number, place) => {
      const link = element("a", number);
      link.href = "#source-" + number;
      link.setAttribute("aria-label", "Open passage " + number);
      link.addEventListener("click", (event) => { event.preventDefault(); open(number); });
      parts.push(...(place ? [", ", link] : [link]));
    });
    parts.push("]");
    position = marker.end;
  }
  parts.push(letters.slice(position).join(""));
  return parts;
}

function open(number) {
  const details = $("source-" + number);
  details.open = true;
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function source(one) {
  const details = element("details");
  details.id = "source-" + one.number;
  details.open = one.cited;
  const summary = element("summary");
  const title = element("span", one.title || one.document_id);
  if (one.heading.length) title.append(element("span", " · " + one.heading.join(" › "), "heading"));
  summary.append(element("span", `[${one.number}]`, "number"), title);
  if (one.cited) summary.append(element("span", "cited", "tag"));
  const body = element("div", undefined, "body");
  body.append(highlighted(one), facts(one));
  details.append(summary, body);
  const item = element("li");
  item.append(details);
  return item;
}

function highlighted(one) {
  const letters = Array.from(one.text); // offsets count code points, JavaScript's strings do not
  const paragraph = element("p");
  let position = 0;
  for (const span of one.spans.filter((span) => span.supports).sort((a, b) => a.start - b.start)) {
    const start = Math.max(span.start, position);
    if (start >= span.end) continue;
    paragraph.append(letters.slice(position, start).join(""), element("mark", letters.slice(start, span.end).join("")));
    position = span.end;
  }
  paragraph.append(letters.slice(position).join(""));
  return paragraph;
}

function facts(one) {
  const list = element("dl");
  for (const [name, value] of Object.entries({ ...one.metadata, document: one.document_id })) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    list.append(pair);
  }
  return list;
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
$("filter").addEventListener("toggle", () => { if ($("filter").open) offer(); });
$("stop").addEventListener("click", () => running?.abort());
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
});
