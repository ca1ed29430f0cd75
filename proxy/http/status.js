"use strict";
// Asks /api/status once a second, while the page is seen, and draws what it says. What comes from
// elsewhere (keys, values, addresses, errors) becomes text, never markup.

const MINUTE = 60;
const at = (id) => document.getElementById(id);
const KEEP = "nearhit-token";
let paused = false;
let timer = 0;
let chosen = null; // seconds ago that the cross of the plots stands at

// --- Numbers as text ---------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const rate = (n) => (n === null ? "–" : n >= 10000 ? short.format(n) : n >= 10 || n === 0 ? whole.format(n) : n.toFixed(1));
const count = (n) => (n >= 1e6 ? short.format(n) : whole.format(n));
const part = (n) => (n === null ? "–" : `${(n * 100).toFixed(1)} %`);

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n >= 100 || unit === 0 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds === null) return "–";
  const ms = seconds * 1000;
  if (ms < 1) return `${(ms * 1000).toPrecision(ms < 0.1 ? 2 : 3)} µs`;
  return ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : `${Number(seconds.toPrecision(3))} s`;
}

function span(seconds) {
  const names = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = names.findIndex(([size]) => seconds >= size);
  if (from < 0) return "0 s";
  return names.slice(from, from + 2).map(([size, name], i) => {
    const n = i === 0 ? Math.floor(seconds / size) : Math.floor((seconds % names[from][0]) / size);
    return n || i === 0 ? `${n} ${name}` : "";
  }).join(" ").trim();
}

// --- Elements ------------------------------------------------------------------------------------

function make(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes.length) made.className = classes.join(" ");
  return made;
}

function set(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value, classes = ""]) => {
    const pair = make("div", undefined, ...(classes ? [classes] : []));
    pair.append(make("dt", name), value instanceof Node ? value : make("dd", value));
    return pair;
  }));
}

// The roles are said, for on a phone the rows look like cards, and would be none to a screen reader.
function rows(body, lines) {
  const names = [...body.parentElement.tHead.rows[0].cells].map((cell) => cell.textContent);
  body.replaceChildren(...lines.map((cells) => {
    const line = make("tr");
    line.setAttribute("role", "row");
    cells.forEach((cell, i) => {
      const made = cell instanceof Node ? cell : make(i ? "td" : "th", cell);
      if (!i && made.tagName === "TH") made.scope = "row";
      made.setAttribute("role", i ? "cell" : "rowheader");
      if (i) made.dataset.name = names[i];
      line.append(made);
    });
    return line;
  }));
}

// --- Plots ---------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 176;
const MARGIN = { left: 52, right: 8, top: 10, bottom: 22 };
const SPAN = 300;

function draw(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [1, 1.5, 2, 3, 4, 6, 8, 10].find((step) => step * power >= most);
}

class Plot {
  constructor(id, { title, names, format, level = format, most }) {
    Object.assign(this, { title, names, format, level, most });
    this.home = at(id);
    this.svg = draw("svg", { tabindex: 0, role: "img" });
    this.said = make("output");
    this.home.append(this.svg, this.said);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => choose(null));
    this.svg.addEventListener("blur", () => choose(null));
    this.svg.addEventListener("keydown", (event) => this.press(event));
    this.data = null;
  }

  get width() { return Math.max(200, this.home.clientWidth); }

  x(ago) { return MARGIN.left + (1 + ago / SPAN) * (this.width - MARGIN.left - MARGIN.right); }

  point(offset) {
    const inner = this.width - MARGIN.left - MARGIN.right;
    choose(Math.min(0, Math.max(-SPAN, ((offset - MARGIN.left) / inner - 1) * SPAN)));
  }

  press(event) {
    const step = { ArrowLeft: -5, ArrowRight: 5, PageUp: -60, PageDown: 60 }[event.key];
    if (event.key === "Escape") choose(null);
    if (step === undefined && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const from = event.key === "Home" ? -SPAN : event.key === "End" ? 0 : (chosen ?? 0) + step;
    choose(Math.min(0, Math.max(-SPAN, from)));
  }

  show(ago, series) {
    this.data = { ago, series };
    this.draw();
  }

  draw() {
    if (this.data === null) return;
    const { ago, series } = this.data;
    const top = this.most ?? ceiling(Math.max(0, ...series.flat().filter((n) => n !== null)));
    const y = (n) => MARGIN.top + (1 - n / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const level = y(share * top);
      parts.push(draw("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: level, y2: level }));
      parts.push(draw("text", { x: MARGIN.left - 6, y: level + 4, "text-anchor": "end" }, this.level(share * top)));
    }
    for (const minutes of [5, 4, 3, 2, 1, 0]) {
      const anchor = minutes === 5 ? "start" : minutes === 0 ? "end" : "middle";
      const text = minutes ? `−${minutes} min` : "now";
      if (minutes === 5 || minutes === 0 || this.width > 500) {
        parts.push(draw("text", { x: this.x(-minutes * MINUTE), y: HEIGHT - 4, "text-anchor": anchor }, text));
      }
    }
    series.forEach((values, i) => {
      let path = "";
      let pen = "M";
      values.forEach((n, j) => {
        if (n === null || ago[j] < -SPAN) { pen = "M"; return; }
        path += `${pen}${this.x(ago[j]).toFixed(1)} ${y(Math.min(n, top)).toFixed(1)}`;
        pen = "L";
      });
      parts.push(draw("path", { d: path || "M0 0", class: ["one", "two"][i] }));
    });
    let spot = ago.length - 1;
    if (chosen !== null && ago.length) {
      spot = ago.reduce((best, n, j) => (Math.abs(n - chosen) < Math.abs(ago[best] - chosen) ? j : best), 0);
      const x = this.x(ago[spot]);
      parts.push(draw("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, class: "cross" }));
    }
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    const when = spot < 0 ? "" : chosen === null ? "now" : `${span(Math.round(-ago[spot]))} ago`;
    const told = this.names.map((name, i) => `${name} ${this.format(series[i][spot] ?? null)}`);
    this.said.textContent = spot < 0 ? "The first seconds are being counted." : `${when}: ${told.join(", ")}`;
    this.svg.setAttribute("aria-label", `${this.title}. ${this.said.textContent}. Arrow keys go through the seconds.`);
  }
}

const plots = {
  throughput: new Plot("plot-throughput", { title: "Throughput", names: ["requests", "near hits"], format: rate }),
  ratio: new Plot("plot-ratio", { title: "Hit ratio", names: ["found", "found near"], format: part, level: (n) => `${n * 100} %`, most: 1 }),
};

function choose(ago) {
  chosen = ago;
  for (const plot of Object.values(plots)) plot.draw();
}

// --- The panels ------------------------------------------------------------------------------------

function minute(history, name) {
  let count = 0, seconds = 0;
  history.at.forEach((at, i) => {
    if (at < -MINUTE) return;
    count += history[name][i] * history.seconds[i];
    seconds += history.seconds[i];
  });
  return seconds ? count / seconds : null;
}

function tiles({ history, stats }) {
  const [hits, misses, near] = ["hits", "misses", "near_found"].map((name) => minute(history, name));
  set("tile-commands", rate(minute(history, "commands")));
  set("tile-ratio", part(hits + misses ? hits / (hits + misses) : null));
  set("tile-near", part(hits ? Math.min(1, near / hits) : null));
  set("tile-errors", rate(minute(history, "command_errors")));
  set("tile-clients", count(stats.clients));
}

function foundNear(history) {
  return history.at.map((_, i) => {
    const reads = history.hits[i] + history.misses[i];
    return reads ? Math.min(1, history.near_found[i] / reads) : null;
  });
}

const TIERS = { near: "near cache", server: "server", load: "loader", proxy: "proxy itself" };

function latencies(found) {
  const lines = Object.entries(TIERS).filter(([tier]) => tier in found);
  rows(at("latencies"), lines.map(([tier, name]) => [name, ...["p50", "p90", "p99"].map((p) => time(found[tier][p]))]));
  if (!lines.length) {
    const cell = make("td", "nothing was timed", "quiet");
    cell.colSpan = 4;
    rows(at("latencies"), [[cell]]);
  }
}

function near({ stats, near_budget: budget, nodes: list }) {
  at("near").hidden = budget === null;
  at("near-off").hidden = budget !== null;
  if (budget === null) return;
  const asked = list.some((node) => Object.keys(node.tracked_lanes).length);
  at("near-fill").value = Math.min(1, stats.near_bytes / budget);
  set("near-text", `${part(stats.near_bytes / budget)}: ${bytes(stats.near_bytes)} of ${bytes(budget)}`);
  facts(at("near-facts"), [
    ["values", count(stats.near_entries)],
    ["hits", count(stats.near_hits)],
    ["evictions", count(stats.near_evictions)],
    ["invalidations", count(stats.near_invalidations)],
    ["server tells of changes", stats.tracking === "on" ? "yes" : asked ? "no" : "not asked yet"],
    ["dbs and users bypassed", count(stats.near_bypass)],
  ]);
}

function nodes(list) {
  rows(at("nodes"), list.map((node) => {
    const { lanes, lane_queue: queue, tracked_lanes: tracked } = node;
    const stands = Object.values(lanes).reduce((sum, n) => sum + n, 0) > 0;
    const state = node.down !== null ? "down" : stands ? "up" : "not connected";
    const shown = make("td", state, node.down !== null ? "bad" : "fine");
    if (node.down !== null) shown.title = node.down;
    const tracking = tracked.on ? (tracked.off ? `${tracked.on} on, ${tracked.off} off` : "on") : tracked.off ? "off" : "–";
    return [
      node.role === "server" ? node.address : `${node.address} (${node.role})`,
      shown,
      node.slots === null ? "–" : whole.format(node.slots),
      tracking,
      ...["shared", "pinned", "warm"].map((use) => count(lanes[use] ?? 0)),
      count((queue.sent ?? 0) + (queue.unsent ?? 0)),
    ];
  }));
}

function hot(list) {
  const none = list === null ? "Who may see which key is the server's to say, and it says nothing now." : "None was seen.";
  at("hot").hidden = !list?.length;
  at("no-hot").hidden = !at("hot").hidden;
  set("no-hot", none);
  rows(at("hot-keys"), (list ?? []).map(({ key, reads, hits, misses, bytes: size }) => {
    const name = make("th");
    name.append(make("code", key));
    name.title = key; // long ones are cut
    const found = hits === null ? null : hits / Math.max(1, hits + misses);
    return [name, `~${count(reads)}`, part(found), size === null ? "–" : bytes(size)];
  }));
}

function loads(stats) {
  facts(at("loads"), [
    ["loads", count(stats.loads)],
    ["failed", count(stats.load_failures)],
    ["waited for another's", count(stats.coalesced)],
    ["waiting now", count(stats.waiting)],
    ["served stale", count(stats.stale_served)],
    ["leases granted", count(stats.leases)],
    ["locks granted", count(stats.locks_acquired)],
    ["locks held by another", count(stats.locks_contended)],
    ["waiting for a lock", count(stats.lock_waiters)],
  ]);
}

function done(job) {
  return ["loaded", "skipped", "not_found", "failed"].reduce((sum, name) => sum + (job[name] ?? 0), 0) || (job.removed ?? 0);
}

function jobs(list) {
  at("no-jobs").hidden = list.length > 0;
  at("jobs").replaceChildren(...list.map((job) => {
    const line = make("li");
    const of = job.total === null ? "" : ` of ${count(job.total)}`;
    const text = make("div", `${job.command}: ${job.state}, ${count(done(job))}${of} keys`);
    text.id = `job-${job.id}`;
    line.append(text);
    if (job.state === "running") {
      const bar = make("progress");
      bar.setAttribute("aria-labelledby", text.id);
      if (job.total !== null) { bar.max = Math.max(1, job.total); bar.value = done(job); }
      line.append(bar);
    }
    if (job.error) line.append(make("div", job.error, "bad"));
    return line;
  }));
}

function show(status) {
  const { history, stats } = status;
  at("main").hidden = false;
  at("login").hidden = true;
  set("version", `${status.version}, ${status.build}`);
  set("uptime", `up for ${span(stats.uptime_s)}`);
  state(status.down === null ? "serving" : "server is down", status.down === null);
  alert(status.down === null ? "" : status.down);
  tiles(status);
  plots.throughput.show(history.at, [history.commands, history.near_hits]);
  plots.ratio.show(history.at, [history.hit_ratio, foundNear(history)]);
  latencies(status.latencies);
  near(status);
  hot(status.hot_keys);
  nodes(status.nodes);
  loads(stats);
  jobs(status.jobs);
}

function state(text, good) {
  set("state", text);
  at("state").className = `pill ${good ? "good" : "bad"}`;
}

function alert(text) {
  set("alert", text);
  at("alert").hidden = !text;
}

// --- Asking ------------------------------------------------------------------------------------

async function ask(path) {
  const token = sessionStorage.getItem(KEEP);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch(path, { headers, cache: "no-store" });
  const body = await answer.json();
  if (answer.status === 401) throw new Error("token", { cause: body.error });
  if (!answer.ok) throw new Error(body.error);
  return body;
}

function login(why) {
  const known = sessionStorage.getItem(KEEP) !== null;
  sessionStorage.removeItem(KEEP);
  at("main").hidden = true;
  at("login").hidden = false;
  state("locked", false);
  alert(known ? why : "");
  at("token").focus();
}

async function turn() {
  clearTimeout(timer);
  let again = true;
  try {
    show(await ask("api/status"));
  } catch (error) {
    if (error.message === "token") {
      again = false;
      login(error.cause);
    } else {
      const lost = error instanceof TypeError;
      state(lost ? "no answer" : "no numbers", false);
      alert(lost ? "The proxy does not answer. This page goes on asking; what it shows is old." : error.message);
    }
  }
  if (again && !paused && !document.hidden) timer = setTimeout(turn, 1000);
}

const LEASES = { held: "somebody loads it, for at most", "not found": "known not to exist, for another", failed: "its load has failed; tried again in" };

async function look(key) {
  const home = at("found");
  try {
    const found = await ask(`api/status/key?key=${encodeURIComponent(key)}`);
    const list = make("dl", undefined, "facts");
    const there = found.type !== "none";
    const ttl = found.ttl_ms === -1 ? "for ever" : found.ttl_ms < 1000 ? `${found.ttl_ms} ms` : span(Math.floor(found.ttl_ms / 1000));
    const lease = found.lease === null ? "none" : `${LEASES[found.lease.state]} ${time(Math.max(0, found.lease.ms) / 1000)}`;
    const size = found.size === null ? "–" : found.type === "string" ? bytes(found.size) : `${count(found.size)} items`;
    const pairs = [
      ["type", there ? found.type : "there is no such key"],
      ["size", size],
      ["lasts", there ? ttl : "–"],
      ["loader", found.loader === null ? "none is for it" : `${found.loader} (${found.loads_from})`],
      ["tags by its loader", found.tags.join(", ") || "none"],
      ["lease", lease],
    ];
    if (found.value !== null && there) {
      const value = make("dd");
      const rest = found.size > found.shown ? "…" : "";
      value.append(make("pre", found.value + rest));
      pairs.push([rest ? `value, its first ${bytes(found.shown)}` : "value", value, "whole"]);
    }
    facts(list, pairs);
    home.replaceChildren(list);
  } catch (error) {
    if (error.message === "token") login(error.cause);
    else home.replaceChildren(make("p", error.message, "bad"));
  }
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  at("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) turn();
});
at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEEP, at("token").value);
  at("token").value = "";
  turn();
});
at("look").addEventListener("submit", (event) => {
  event.preventDefault();
  look(at("key").value);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) turn(); });
window.addEventListener("resize", () => choose(chosen));
turn();
