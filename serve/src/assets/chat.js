"use strict";
const $ = (id) => document.getElementById(id);
let about = { model: "", chat: false, feedback: false, keys: false };
let turns = [];          // the conversation so far: {role, content}
let busy = null;         // what stops the answer under way

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show(role, text) {
  const turn = element("div", "turn " + role);
  const bubble = element("div", "bubble", text);
  turn.append(bubble);
  $("talk").append(turn);
  $("talk").scrollTop = $("talk").scrollHeight;
  return { turn, bubble };
}

function headers() {
  const all = { "Content-Type": "application/json" };
  if ($("key").value) all.Authorization = "Bearer " + $("key").value;
  return all;
}

async function tell(body) {
  const response = await fetch("/feedback", { method: "POST", headers: headers(), body: JSON.stringify(body) });
  return response.ok;
}

// Calls take(piece) for each piece of a streamed reply.
async function ask(body, signal, take) {
  const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const piece = JSON.parse(line.slice(6));
      if (piece.error) throw new Error(piece.error.message);
      take(piece);
    }
  }
}

// Good or bad, under an answer to what was said before it.
function thumbs(tools, before, answer) {
  if (!about.feedback) return;
  for (const [sign, good, name] of [["Good", true, "good answer"], ["Bad", false, "bad answer"]]) {
    const button = element("button", "", sign);
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.onclick = async () => {
      if (await tell({ messages: before, answer, good })) {
        button.classList.add("said");
        tools.querySelectorAll("button").forEach((b) => { b.disabled = true; });
      }
    };
    tools.append(button);
  }
}

// Two answers side by side; the better one goes on.
function choose(pair, before, answers) {
  return new Promise((resolve) => {
    const cells = [...pair.children];
    cells.forEach((cell, i) => {
      const button = element("button", "", "This one is better");
      button.type = "button";
      button.onclick = async () => {
        if (about.feedback) await tell({ messages: before, chosen: answers[i], rejected: answers[1 - i] });
        cells.forEach((c) => c.querySelector(".tools").replaceChildren());
        cell.querySelector(".tools").append(element("span", "", "chosen"));
        resolve(answers[i]);
      };
      cell.querySelector(".tools").append(button);
    });
  });
}

async function send(text) {
  const own = turns;     // no longer the conversation once a new one has begun
  own.push({ role: "user", content: text });
  show("user", text);
  const system = $("system").value.trim();
  const before = (system ? [{ role: "system", content: system }] : []).concat(own);
  const n = $("two").checked ? 2 : 1;
  const turn = element("div", "turn assistant");
  const pair = element("div", n === 2 ? "pair" : "");
  const bubbles = [], tools = [], answers = [];
  for (let i = 0; i < n; i++) {
    const cell = element("div", "");
    bubbles.push(element("div", "bubble busy", ""));
    tools.push(element("div", "tools"));
    answers.push("");
    cell.append(bubbles[i], tools[i]);
    pair.append(cell);
  }
  turn.append(pair);
  $("talk").append(turn);
  const stop = new AbortController();
  busy = stop;
  $("send").textContent = "Stop";
  let failed = false;
  try {
    const body = { model: about.model, messages: before, temperature: Number($("temperature").value), n, stream: true };
    await ask(body, stop.signal, (piece) => {
      for (const choice of piece.choices) {
        answers[choice.index] += choice.delta.content || "";
        bubbles[choice.index].textContent = answers[choice.index];
        if (choice.finish_reason) {
          bubbles[choice.index].classList.remove("busy");
          if (choice.finish_reason === "length") tools[choice.index].append(element("span", "", "cut off at the longest length"));
        }
      }
      $("talk").scrollTop = $("talk").scrollHeight;
    });
  } catch (error) {
    if (error.name !== "AbortError" && turns === own) {
      failed = true;
      show("error", error.message);
    }
  }
  if (turns !== own) return;
  busy = null;
  $("send").textContent = "Send";
  bubbles.forEach((b) => b.classList.remove("busy"));
  if (failed) {
    own.pop();
    turn.remove();
    return;
  }
  if (n === 1) {
    thumbs(tools[0], before, answers[0]);
    own.push({ role: "assistant", content: answers[0] });
  } else {
    $("send").disabled = true;
    const better = await choose(pair, before, answers);
    if (turns !== own) return;
    $("send").disabled = false;
    own.push({ role: "assistant", content: better });
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (busy) return busy.abort();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  $("text").value = "";
  send(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!busy) $("form").requestSubmit();
  }
});
$("reset").addEventListener("click", () => {
  if (busy) busy.abort();
  busy = null;
  turns = [];
  $("send").textContent = "Send";
  $("send").disabled = false;
  $("talk").replaceChildren();
});

fetch("/about").then((response) => response.json()).then((found) => {
  about = found;
  document.title = about.model;
  $("model").textContent = about.model;
  $("key-field").hidden = !about.keys;
  if (!about.chat) show("error", "This model has no chat template: it continues texts (POST /v1/completions) and does not chat.");
});
