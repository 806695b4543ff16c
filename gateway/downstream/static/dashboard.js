// Draws the states that /dashboard/events sends. Texts are set as textContent, never as HTML.

import { bytes, keyed, make, many, meter, row, say, seconds } from "./elements.js";

const PHASES = {
  read: "read", queue: "queued", submit: "submit", upstream_pending: "queued upstream",
  upstream_running: "running upstream", detection: "detection", download: "download", respond: "response",
};
const STAGES = {
  uncertain: ["uncertain", "warn"], submitting: ["submitting", ""], doubtful: ["maybe billed, not reported", "warn"],
};
const NOTHING = { running: "No edit is running.", waiting: "No edit is waiting.", kept: "All pictures were fetched." };
const SILENCE_SECONDS = 25; // the server sends something every 10
const RETRY_SECONDS = 3;
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

const $ = (id) => document.getElementById(id);
let state = null;
let receivedAt = 0;
let lastEventAt = 0;
let source = null;
let paused = false;
let retryTimer = 0;

const now = () => state.now + (performance.now() - receivedAt) / 1000;

function matches(...texts) {
  const wanted = $("filter").value.trim().toLowerCase();
  return !wanted || texts.flat().some((text) => text.toLowerCase().includes(wanted));
}

// ---------------------------------------------------------------- rows of edits

const EDIT_CELLS = ["what id", "", "", "", "when", "num"];

function head(table, titles) {
  const line = row(...titles.map((_, place) => (place === titles.length - 1 ? "num" : "")));
  line.classList.add("head");
  titles.forEach((title, place) => {
    line.children[place].role = "columnheader";
    line.children[place].textContent = title;
  });
  return line;
}

function table(id, titles, items, key, fill) {
  const place = $(id);
  const all = items.length ? [null, ...items] : [];
  keyed(
    place, all, (item) => (item ? key(item) : "head"),
    (item) => (item ? row(...(id === "tenants" ? ["", "", "num", "num", "num"] : EDIT_CELLS)) : head(place, titles)),
    (line, item) => item && fill(line, item),
  );
}

// Segments [phase, seconds]; *whole* is the length of the track in seconds.
function bar(cell, spans, whole, running) {
  let track = cell.firstElementChild;
  if (!track) {
    track = make("div", "bar");
    track.role = "img";
    cell.append(track);
  }
  track.toggleAttribute("data-running", running);
  while (track.children.length > spans.length) track.lastElementChild.remove();
  while (track.children.length < spans.length) track.append(make("i"));
  spans.forEach(([phase, length], place) => {
    const part = track.children[place];
    if (part.dataset.phase !== phase) part.dataset.phase = phase;
    part.style.width = `${(100 * length) / whole}%`;
  });
  return track;
}

function spansText(spans) {
  return spans.map(([phase, length]) => `${PHASES[phase] ?? phase} ${seconds(length)}`).join(", ");
}

function spansOf(edit, at) {
  return edit.phases.map(([phase, since], place) => {
    const until = place + 1 < edit.phases.length ? edit.phases[place + 1][1] : at;
    return [phase, Math.max(0, until - since)];
  });
}

function stage(cell, edit) {
  const last = edit.phases.at(-1);
  const [text, kind] = STAGES[edit.stage] ?? [edit.stage === "running" && last ? PHASES[last[0]] : edit.stage, ""];
  say(cell, edit.clients || ["kept", "doubtful"].includes(edit.stage) ? text : `${text}, no client connected`, kind);
}

function what(cell, edit) {
  const id = edit.edit_id;
  const pictured = state.thumbnails.includes(id);
  let image = cell.querySelector("img");
  if (pictured && !image) {
    image = make("img");
    image.alt = "";
    image.src = `/dashboard/thumbnails/${encodeURIComponent(id)}`;
    cell.prepend(image);
  }
  let name = cell.querySelector("span");
  if (!name) cell.append((name = make("span")));
  say(name, id ? id.replace(/^edit_/, "").slice(0, 12) : "refused");
  cell.title = [id, ...(edit.tasks ?? []).map((task) => `task ${task}`)].filter(Boolean).join("\n");
}

const LIVE = ["edit", "tenant", "account", "state", "phases", "time"];

function live(id, some) {
  const shown = some.rows.filter((it) => matches(it.tenant, it.accounts, it.region, it.edit_id, it.tasks));
  table(id, LIVE, shown, (it) => it.edit_id, (line, edit) => {
    const [first, tenant, account, how, when] = line.children;
    what(first, edit);
    say(tenant, edit.pictures > 1 ? `${edit.tenant} ×${edit.pictures}` : edit.tenant);
    say(account, edit.accounts.join(", ") || edit.region);
    stage(how, edit);
    when.edit = edit;
  });
  more(id, shown.length, some, NOTHING[id]);
}

function more(id, shown, some, nothing) {
  const left = some.total - some.rows.length;
  const hidden = some.rows.length - shown;
  const texts = [];
  if (!some.total) texts.push(nothing);
  if (hidden) texts.push(`${many.format(hidden)} hidden by the filter`);
  if (left > 0) texts.push(`and ${many.format(left)} more`);
  say($(`more-${id}`), texts.join(", "));
}

// Between two states only the durations change.
function tick() {
  if (!state || paused) return;
  const at = now();
  for (const id of ["running", "waiting", "kept"]) {
    const cells = [...$(id).querySelectorAll(".when")].filter((cell) => cell.edit);
    const whole = Math.max(10, ...cells.map((cell) => at - cell.edit.since));
    for (const cell of cells) {
      const edit = cell.edit;
      const spans = spansOf(edit, at);
      const track = bar(cell, spans, whole, id !== "kept");
      if (track.drawnFor !== state) {
        track.drawnFor = state;
        track.setAttribute("aria-label", spansText(spans));
      }
      say(cell.nextElementSibling, seconds(at - edit.since));
    }
  }
  for (const cell of document.querySelectorAll("[data-until]")) {
    const left = Number(cell.dataset.until) - at;
    say(cell, left > 0 ? `retried in ${seconds(left)}` : "retried now");
  }
}

// ---------------------------------------------------------------- the other parts

function gauge(card, name) {
  const line = make("div", "gauge");
  const track = make("span", "meter");
  track.append(make("i"));
  line.append(make("span", "faint", name), track, make("span"));
  card.append(line);
}

function account(one) {
  const card = make("article", "card");
  const top = make("header");
  top.append(make("h3", "", one.name), make("span", "", one.region));
  card.append(top);
  for (const name of ["tasks", "submits", "polls"]) gauge(card, name);
  card.append(make("ul", "keys"));
  return card;
}

function budget(line, one) {
  meter(line.children[1], one.used);
  const slowed = one.factor < 1;
  const rate = slowed ? (one.factor * one.per_second).toFixed(1) : one.per_second;
  say(line.children[2], `${Math.round(one.used * 100)} % of ${rate}/s`, slowed ? "warn" : "");
  line.title = slowed ? `throttled: slowed to ${Math.round(100 * one.factor)} %` : "";
}

function fillAccount(card, one) {
  const [, running, submits, polls, keys] = card.children;
  meter(running.children[1], one.taken / (one.running_tasks + one.pending_ahead), false);
  say(running.children[2], `${one.taken} of ${one.running_tasks} + ${one.pending_ahead} ahead`);
  say(card.firstElementChild.lastElementChild, `${one.region} · ${many.format(one.waiting)} queued · ${seconds(one.typical)} a task`);
  budget(submits, one.submits);
  budget(polls, one.polls);
  keyed(keys, one.keys, (key) => key.name, () => {
    const line = make("li");
    line.append(make("span"), make("b"), make("span", "faint"));
    return line;
  }, (line, key) => {
    const [name, why, when] = line.children;
    line.dataset.state = key.state;
    say(name, key.name);
    if (key.state === "works") say(why, "");
    else say(why, key.state === "rests" ? `suspended: ${key.reason}` : `in doubt: ${key.reason}`);
    if (key.state === "rests") when.dataset.until = key.until;
    else {
      delete when.dataset.until;
      say(when, key.state === "works" ? "works" : "tried by the next edit");
    }
  });
}

function answered(some) {
  const shown = some.rows.filter((it) => matches(it.tenant, it.accounts, it.region, it.edit_id));
  const whole = Math.max(1, ...shown.map((it) => it.seconds));
  const key = (it) => `${it.edit_id} ${it.tenant} ${it.at}`;
  table("answered", ["edit", "tenant", "account", "response", "phases", "took"], shown, key, (line, it) => {
    const [first, tenant, place, how, when, took] = line.children;
    what(first, it);
    say(tenant, it.tenant);
    say(place, it.accounts.join(", ") || it.region || "–");
    const outcome = it.upstream_code ? `${it.outcome}: ${it.upstream_code}` : it.outcome;
    say(how, it.code ? `${it.code} ${outcome}` : outcome.replace("_", " "), it.code >= 500 ? "bad" : it.code >= 400 ? "warn" : "");
    how.title = how.textContent;
    bar(when, it.phases, whole, false).setAttribute("aria-label", spansText(it.phases));
    say(took, seconds(it.seconds));
  });
  say($("more-answered"), some.total ? (some.total > some.rows.length ? `the last ${some.rows.length} of ${many.format(some.total)}` : "") : "Nothing since the start.");
}

function tenants(some) {
  const shown = some.rows.filter((it) => matches(it.name, it.region));
  table("tenants", ["tenant", "region", "running", "waiting", "to fetch"], shown, (it) => it.name, (line, it) => {
    [it.name, it.region, ...[it.running, it.waiting, it.kept].map((n) => many.format(n))].forEach(
      (text, place) => say(line.children[place], text),
    );
  });
  more("tenants", shown.length, some, "No tenants.");
}

function alarm(accounts) {
  const suspended = accounts.rows.flatMap((it) => it.keys.filter((key) => key.state === "rests"));
  const names = suspended.map((key) => `${key.name} (${key.reason})`);
  say($("alert"), names.length ? `Suspended, used only if no other key is left: ${names.join(", ")}` : "");
}

function show() {
  const { edits } = state;
  say($("version"), state.version);
  for (const id of ["running", "waiting", "kept"]) say($(`n-${id}`), many.format(edits[id].total));
  say($("n-answered"), many.format(state.answered.total));
  say($("n-bytes"), `${bytes(state.bytes.held)} of ${bytes(state.bytes.limit)}`);
  meter($("m-bytes"), state.bytes.held / state.bytes.limit);
  $("state").toggleAttribute("data-pictured", state.thumbnails.length > 0);
  alarm(edits.accounts);
  const accounts = edits.accounts.rows.filter((it) => matches(it.name, it.region, it.keys.map((key) => key.name)));
  keyed($("accounts"), accounts, (it) => `${it.region} ${it.name}`, account, fillAccount);
  more("accounts", accounts.length, edits.accounts, "No accounts.");
  live("running", edits.running);
  live("waiting", edits.waiting);
  live("kept", edits.kept);
  answered(state.answered);
  tenants(edits.tenants);
  document.title = `${edits.running.total} running, ${edits.waiting.total} waiting · wan-gateway`;
  tick();
}

// ---------------------------------------------------------------- the stream

function link(name, text) {
  const place = $("link");
  place.dataset.state = name;
  say(place, text);
  $("state").toggleAttribute("data-stale", name !== "live");
}

function open() {
  close();
  lastEventAt = performance.now();
  source = new EventSource("/dashboard/events");
  source.onmessage = (event) => {
    state = JSON.parse(event.data);
    receivedAt = lastEventAt = performance.now();
    $("state").removeAttribute("aria-busy");
    link("live", state.draining ? "live; draining: no new edits" : "live");
    show();
  };
  source.addEventListener("beat", () => (lastEventAt = performance.now()));
  source.addEventListener("end", () => lost("The gateway stops; trying again"));
  source.onerror = () => lost("Connection lost, trying again");
}

function close() {
  clearTimeout(retryTimer);
  source?.close();
  source = null;
}

function lost(text) {
  close();
  link("lost", text);
  retryTimer = setTimeout(retry, RETRY_SECONDS * 1000);
}

// EventSource hides the status of a refused stream; a plain request shows it.
async function retry() {
  const answer = await fetch("/dashboard/snapshot").catch(() => null);
  if (paused || document.hidden) return;
  if (answer?.status === 401) location.reload();
  else if (answer?.ok) open();
  else lost("Connection lost, trying again");
}

function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say($("pause"), paused ? "Resume" : "Pause");
  if (!paused) return open();
  close();
  link("paused", `paused at ${new Date().toLocaleTimeString()}`);
}

// A hidden page closes its stream.
function visible() {
  if (paused) return;
  if (document.hidden) close();
  else open();
}

for (const [phase, name] of Object.entries(PHASES)) {
  const item = make("li");
  const colour = make("i");
  colour.dataset.phase = phase;
  item.append(colour, name);
  $("legend").append(item);
}
$("pause").addEventListener("click", pause);
$("filter").addEventListener("input", () => state && show());
$("config").addEventListener("toggle", async () => {
  const answer = await fetch("/dashboard/config").catch(() => null);
  say($("meaning"), answer?.ok ? await answer.text() : "The gateway does not answer.");
});
document.addEventListener("visibilitychange", visible);
setInterval(() => {
  if (source && performance.now() - lastEventAt > SILENCE_SECONDS * 1000) lost("Connection lost, trying again");
}, 1000);
setInterval(tick, reducedMotion ? 1000 : 200);
open();
