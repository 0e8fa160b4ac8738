// Everything here is drawn from what the edge says of itself: one WebSocket, four
// small messages a second. Text reaches the page by textContent only.
const { facts, told, script } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");

function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.className = value;
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

// What becomes of a request, and how it is called.
const OUTCOMES = [
  ["pass", "answered"],
  ["away", "turned away"],
  ["limited", "over the limit"],
  ["missing", "not there"],
  ["failed", "failed"],
];
function outcome(code) {
  if (code === "401" || code === "403") return "away";
  if (code === "429") return "limited";
  if (code >= "500") return "failed";
  return code >= "400" ? "missing" : "pass";
}

// ---- what does not change ----

function fillHost() {
  const [label, ...rest] = facts.host.split(".");
  const [service, pod, user] = [facts.service, facts.pod, facts.user];
  const part = (text, what) => make("b", {}, text, make("small", {}, what));
  const join = () => make("span", {}, "-");
  if (label === `${service}-${pod}-${user}`) {
    $("host").append(part(service, "service"), join(), part(pod, "pod"), join(), part(user, "user"));
  } else {
    $("host").append(label);
  }
  $("host").append(make("span", {}, `.${rest.join(".")}`));
}

const DOORS = {
  public: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM2 8h12M8 2c2 2 2 10 0 12M8 2c-2 2-2 10 0 12",
  private: "M4 7h8v6H4zM5.5 7V5a2.5 2.5 0 0 1 5 0v2",
  shared: "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM2 13.5c0-2.5 1.5-4 4-4s4 1.5 4 4M10.5 2.8a2.4 2.4 0 0 1 0 4.4M12 9.9c1.3.6 2 1.9 2 3.6",
};
function svg(tag, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function fillServices() {
  for (const service of facts.services) {
    const shared = service.shared_until !== undefined;
    const door = shared ? "shared" : service.visibility;
    const icon = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
    icon.append(svg("path", { d: DOORS[door] ?? DOORS.private }));
    const who = make("p", { className: "who" }, service.who);
    if (shared) {
      const left = () => {
        const minutes = Math.ceil((service.shared_until - Date.now()) / 60000);
        who.textContent = minutes > 0
          ? `${service.who}, for ${minutes} more ${minutes === 1 ? "minute" : "minutes"}.`
          : "john. The share with mary has run out: she is turned away now.";
      };
      left();
      setInterval(left, 5000);
    }
    const card = make("article", { className: "service" },
      make("header", {}, make("h3", {}, service.name), make("span", { className: `door ${door}` }, icon, door)),
      make("p", {}, service.about), who);
    if (service.url === facts.url) {
      card.append(make("p", { className: "go mono" }, "you are here"));
    } else {
      card.append(
        make("p", { className: "go" }, make("a", { href: service.url }, "Knock without a token"), " and be turned away"),
        make("details", {}, make("summary", {}, "Enter with this browser"),
          make("ol", {},
            make("li", {}, "Knock, as above. The edge answers 401."),
            make("li", {}, "In that page\u2019s console: ", make("code", {}, facts.console_line)),
            make("li", {}, "Give it what is in ", make("code", {}, service.token_file), ", and reload."))));
    }
    $("services").append(card);
  }
}

function copyable(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.setAttribute("aria-label", `Copy: ${text}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  return make("div", { className: "copy" }, make("pre", {}, text), button);
}
function fillLines() {
  for (const line of facts.lines) {
    const kind = outcome(String(line.status));
    $("lines").append(make("li", {},
      make("p", {}, make("span", {}, line.about), make("b", { className: kind }, String(line.status))),
      copyable(line.command)));
  }
}

const WHY = {
  "x-request-id": "this request, here and in the edge\u2019s log",
  "x-pod-id": "the pod the name stands for",
  "x-pod-user": "whose pod it is",
  "x-user-id": "who is asking; here only when a token said so",
  "x-real-ip": "the address the request came from",
  "x-forwarded-for": "the same, for programs that look here",
  "x-forwarded-proto": "TLS ended at the edge",
  "x-forwarded-host": "the name that was asked for",
  "traceparent": "so that traces go on through the edge",
};
function fillTold() {
  for (const [name, why] of Object.entries(WHY)) {
    const value = told[name];
    if (value === undefined && name !== "x-user-id") continue;
    $("told").append(make("tr", {},
      make("th", { scope: "row" }, name),
      make("td", { className: value === undefined ? "none" : "v" }, value ?? "not sent: you came without a token"),
      make("td", { className: "why" }, why)));
  }
}

// ---- the way in ----

const STEPS = [
  { name: "route", out: "missing", code: "404", says: "no such name" },
  { name: "address limit", out: "limited", code: "429", says: "too many" },
  { name: "auth", out: "away", code: "401 403", says: "not for you" },
  { name: "user limit", out: "limited", code: "429", says: "too many" },
  { name: "headers" },
];
const gate = {
  counts: { services: facts.services.map(() => 0), steps: STEPS.map(() => 0) },
  texts: { services: [], steps: [] },
  dots: [],
  paths: new Map(),
  layer: null,

  draw() {
    const box = $("gate");
    const width = box.clientWidth;
    const tall = width < 640;
    const height = tall ? 520 : 214;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.style.height = `${height}px`;
    box.replaceChildren();
    this.dots = [];
    this.paths.clear();
    this.texts = { services: [], steps: [] };
    const put = (tag, attributes, text) => box.appendChild(svg(tag, attributes, text));
    // `along` runs with the flow, `across` to its side: two layouts from one drawing.
    const at = tall ? (along, across) => [36 + across, along] : (along, across) => [along, 84 + across];
    const d = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
    const step = tall ? 68 : Math.min(168, (width - 230) / 6);
    const first = tall ? 62 : Math.max(112, width * .12);
    const stops = STEPS.map((_, i) => first + i * step);
    const fork = stops.at(-1) + (tall ? 34 : step * .42);
    const end = tall ? height - 58 : width - 118;
    const begin = tall ? 22 : 4;
    const apart = tall ? (width - 120) / 2 : 58;
    const lanes = facts.services.map((_, i) => (tall ? i : i - (facts.services.length - 1) / 2) * apart);

    put("path", { class: "wire", d: d([at(begin, 0), at(fork, 0)]) });
    facts.services.forEach((service, i) => {
      const bend = (end - fork) * .55;
      const [a, b, c, e] = [at(fork, 0), at(fork + bend, 0), at(end - bend, lanes[i]), at(end, lanes[i])];
      const curve = `C${b.join(" ")} ${c.join(" ")} ${e.join(" ")}`;
      put("path", { class: "wire", d: `M${a.join(" ")}${curve}` });
      this.paths.set(service.name, svg("path", { d: `M${at(begin, 0).join(" ")}L${a.join(" ")}${curve}` }));
    });
    STEPS.forEach((s, i) => {
      if (!s.out) return;
      const out = [at(stops[i], 0), at(stops[i], tall ? 44 : 66)];
      put("path", { class: "out", d: d(out) });
      this.paths.set(s.name, svg("path", { d: d([at(begin, 0), ...out]) }));
    });
    this.layer = put("g", {});
    STEPS.forEach((s, i) => {
      for (const side of [-1, 1]) {
        const [x1, y1] = at(stops[i], side * 8);
        const [x2, y2] = at(stops[i], side * 17);
        put("line", { class: "post", x1, y1, x2, y2 });
      }
      const [x, y] = at(stops[i], 0);
      if (tall) {
        put("text", { x: x + (s.out ? 60 : 32), y: y - (s.out ? 6 : -4) }, s.name);
        if (s.out) put("text", { class: "small", x: x + 60, y: y + 12 }, `${s.code.replace(" ", " or ")}, ${s.says}`);
      } else {
        put("text", { x, y: y - 30, "text-anchor": "middle" }, s.name);
        if (s.out) put("text", { class: "small", x, y: y + 86, "text-anchor": "middle" }, s.says);
        if (s.out) put("text", { class: "small", x, y: y + 103, "text-anchor": "middle" }, s.code.replace(" ", " or "));
      }
      if (s.out) {
        const n = tall ? { x: width - 4, y: y + 4, "text-anchor": "end" } : { x: x + 8, y: y + 58 };
        this.texts.steps[i] = put("text", { class: `n ${s.out}`, ...n });
      }
    });
    const [x0, y0] = at(begin, 0);
    if (tall) put("text", { class: "small", x: x0 + 22, y: y0 - 4 }, "you, and everybody else");
    else {
      put("text", { x: x0, y: y0 - 14 }, "you, and");
      put("text", { x: x0, y: y0 + 24 }, "everybody");
    }
    facts.services.forEach((service, i) => {
      const [x, y] = at(end, lanes[i]);
      put("circle", { class: "end", cx: x, cy: y, r: 5 });
      const name = tall ? { x, y: y + 26, "text-anchor": "middle" } : { x: x + 16, y: y + 4.5 };
      put("text", name, service.name);
      const n = tall ? { x, y: y + 44, "text-anchor": "middle" } : { x: width, y: y + 4.5, "text-anchor": "end" };
      this.texts.services[i] = put("text", { class: "n pass", ...n });
    });
    this.write();
  },

  write() {
    this.texts.services.forEach((text, i) => { text.textContent = this.counts.services[i] || ""; });
    this.texts.steps.forEach((text, i) => { if (text) text.textContent = this.counts.steps[i] || ""; });
  },

  // Sends dots down one way, spread over the time in which the requests came.
  send(way, kind, count) {
    const path = this.paths.get(way);
    if (still.matches || document.hidden || !path) return;
    const room = Math.min(count, 12, 240 - this.dots.length);
    for (let i = 0; i < room; i++) {
      const circle = svg("circle", { class: kind, r: 4, opacity: 0 });
      this.layer.append(circle);
      this.dots.push({ path, circle, length: path.getTotalLength(), from: performance.now() + (i + Math.random()) * 250 / room });
    }
  },

  count(sample) {
    let limited = 0;
    for (const [service, codes] of Object.entries(sample.requests)) {
      const index = facts.services.findIndex((s) => s.name === service);
      for (const [code, n] of Object.entries(codes)) {
        const kind = outcome(code);
        if (kind === "limited") limited += n;
        else if (kind === "away") this.step(2, n);
        else if (index < 0) this.step(0, n);
        else {
          this.counts.services[index] += n;
          this.send(service, kind, n);
        }
      }
    }
    const users = Math.min(limited, sample.limited.user ?? 0);
    this.step(3, users);
    this.step(1, limited - users);
    this.write();
  },

  step(index, n) {
    if (n <= 0) return;
    this.counts.steps[index] += n;
    this.send(STEPS[index].name, STEPS[index].out, n);
  },

  move(now) {
    const speed = .42; // pixels a millisecond
    this.dots = this.dots.filter(({ path, circle, length, from }) => {
      const gone = (now - from) * speed;
      if (gone < 0) return true;
      if (gone > length) {
        circle.remove();
        return false;
      }
      const { x, y } = path.getPointAtLength(gone);
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
      circle.setAttribute("opacity", Math.min(1, gone / 20, (length - gone) / 12));
      return true;
    });
  },
};

// ---- the chart ----

const TICK = 250;
const chart = {
  box: $("chart"),
  canvas: $("chart").querySelector("canvas"),
  samples: [],
  ahead: 0, // the demo's clock minus this browser's
  top: 8,
  slow: 4,
  pointer: null,
  colors: {},
  size: [0, 0],

  resize() {
    const { clientWidth, clientHeight } = this.box;
    const scale = devicePixelRatio || 1;
    this.size = [clientWidth, clientHeight];
    this.canvas.width = Math.round(clientWidth * scale);
    this.canvas.height = Math.round(clientHeight * scale);
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(document.documentElement);
    for (const name of ["pass", "away", "limited", "missing", "failed", "ink", "soft", "line"]) {
      this.colors[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.font = `12px ${style.getPropertyValue("--sans")}`;
  },

  add(sample) {
    const by = {};
    let total = 0;
    for (const codes of Object.values(sample.requests)) {
      for (const [code, n] of Object.entries(codes)) {
        by[outcome(code)] = (by[outcome(code)] ?? 0) + n;
        total += n;
      }
    }
    this.samples.push({ at: sample.at, by, total, p50: sample.p50, p99: sample.p99 });
    if (this.samples.length > 300) this.samples.shift();
    const ahead = sample.at - Date.now();
    this.ahead = Math.abs(ahead - this.ahead) > 2000 ? ahead : this.ahead * .9 + ahead * .1;
  },

  span() {
    return this.size[0] < 600 ? 30000 : 60000;
  },

  paint() {
    const { pen, colors } = this;
    const [width, height] = this.size;
    const [left, right] = [34, width - 2];
    const [roof, floor] = [8, height - 94];
    const [roof2, floor2] = [height - 62, height - 22];
    const span = this.span();
    // A little late, so that a bar slides in rather than pops up.
    const now = Date.now() + this.ahead - 350;
    const x = (at) => right - ((now - at) / span) * (right - left);
    const seen = this.samples.filter((s) => x(s.at) > left - 4);
    const rate = (s) => s.total * (1000 / TICK);

    const nice = (value, steps) => steps.find((step) => step >= value) ?? Math.ceil(value / 1000) * 1000;
    const want = nice(Math.max(...seen.map(rate), 0) * 1.08, [8, 16, 24, 40, 60, 80, 120, 160, 240, 320, 480, 800, 1200, 2000]);
    const wantSlow = nice(Math.max(...seen.map((s) => s.p99 ?? 0), 0) * 1.05, [4, 10, 20, 40, 100, 200, 400, 1000, 2000, 4000]);
    const ease = still.matches ? 1 : .14;
    this.top += (want - this.top) * ease;
    this.slow += (wantSlow - this.slow) * ease;
    const y = (value) => floor - (value / this.top) * (floor - roof);
    const y2 = (value) => floor2 - (value / this.slow) * (floor2 - roof2);

    pen.clearRect(0, 0, width, height);
    pen.font = this.font;
    pen.lineWidth = 1;
    const rule = (at, label) => {
      pen.fillStyle = colors.line;
      pen.fillRect(left, Math.round(at), right - left, 1);
      pen.fillStyle = colors.soft;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillText(label, left - 8, at);
    };
    for (const part of [0, .5, 1]) rule(y(want * part), String(want * part));
    rule(y2(0), "0");
    rule(y2(wantSlow), String(wantSlow));
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.fillText("milliseconds", left, roof2 - 9);
    pen.textBaseline = "top";
    for (let ago = 0; ago <= span; ago += span / 4) {
      pen.textAlign = ago === 0 ? "right" : ago === span ? "left" : "center";
      pen.fillText(ago === 0 ? "now" : `${ago / 1000} s ago`, right - (ago / span) * (right - left), floor2 + 9);
    }

    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    const wide = Math.max(1, (TICK / span) * (right - left) - 1);
    for (const sample of seen) {
      let base = floor;
      for (const [kind] of OUTCOMES) {
        const n = sample.by[kind];
        if (!n) continue;
        const tall = (n * (1000 / TICK) / this.top) * (floor - roof);
        pen.fillStyle = colors[kind];
        pen.fillRect(x(sample.at) - wide, base - tall, wide, tall);
        base -= tall;
      }
    }
    for (const [key, color, weight] of [["p99", colors.soft, 1], ["p50", colors.pass, 1.75]]) {
      pen.strokeStyle = color;
      pen.lineWidth = weight;
      pen.lineJoin = "round";
      pen.beginPath();
      let down = false;
      for (const sample of seen) {
        if (sample[key] == null) {
          down = false;
          continue;
        }
        const point = [x(sample.at), y2(sample[key])];
        if (down) pen.lineTo(...point);
        else pen.moveTo(...point);
        down = true;
      }
      pen.stroke();
    }
    pen.restore();
    this.point(seen, x, [roof, floor2], left, right);
  },

  point(seen, x, [roof, floor], left, right) {
    const tip = $("tip");
    const at = this.pointer;
    const near = at === null || at < left ? undefined
      : seen.find((s) => Math.abs(x(s.at) - 2 - at) <= (TICK / this.span()) * (right - left));
    tip.hidden = !near;
    if (!near) return;
    this.pen.fillStyle = this.colors.soft;
    this.pen.fillRect(Math.round(at), roof, 1, floor - roof);
    const ago = Math.max(0, Date.now() + this.ahead - near.at) / 1000;
    const row = (label, value, kind) =>
      make("p", {}, make("span", {}, ...(kind ? [make("i", { className: `k-${kind}` })] : []), label), value);
    const rows = OUTCOMES.filter(([kind]) => near.by[kind]).map(([kind, label]) => row(label, String(near.by[kind]), kind));
    tip.replaceChildren(
      row(`${ago.toFixed(1)} s ago`, "in \u00bc s"),
      ...(rows.length ? rows : [row("no request", "")]),
      ...(near.p99 == null ? [] : [row("p50, p99", `${time(near.p50)}, ${time(near.p99)} ms`)]));
    const [width] = this.size;
    tip.style.transform = `translate(${at > width / 2 ? at - tip.offsetWidth - 12 : at + 12}px, 8px)`;
  },
};
function time(ms) {
  if (ms == null) return "\u2013";
  return ms < 10 ? ms.toFixed(1) : String(Math.round(ms));
}

// ---- the figures ----

const figures = {
  cells: {},
  totals: { away: 0, limited: 0 },

  build() {
    for (const [key, label, unit] of [
      ["rate", "requests", "/s"], ["p50", "half within", "ms"], ["p99", "99 % within", "ms"],
      ["sockets", "open WebSockets", ""], ["away", "turned away", ""], ["limited", "over the limit", ""],
    ]) {
      const value = make("span", {}, "\u2013");
      this.cells[key] = value;
      $("figures").append(make("div", {}, make("dt", {}, label), make("dd", {}, value, unit ? make("small", {}, unit) : "")));
    }
    for (const [kind, label] of OUTCOMES) {
      $("legend").append(make("li", {}, make("i", { className: `k-${kind}` }), label));
    }
  },

  show(sample) {
    const last = chart.samples.slice(-8);
    const rate = last.reduce((sum, s) => sum + s.total, 0) / (last.length * TICK / 1000);
    const mine = chart.samples.at(-1);
    this.totals.away += mine.by.away ?? 0;
    this.totals.limited += mine.by.limited ?? 0;
    const set = (key, text) => { if (this.cells[key].textContent !== text) this.cells[key].textContent = text; };
    set("rate", rate < 10 ? rate.toFixed(1) : String(Math.round(rate)));
    set("p50", time(sample.p50));
    set("p99", time(sample.p99));
    set("sockets", String(sample.websockets));
    set("away", String(this.totals.away));
    set("limited", String(this.totals.limited));
  },

  // For those who hear the page rather than see it: on request, not four times a second.
  tell() {
    const text = OUTCOMES
      .map(([kind, label]) => [label, chart.samples.reduce((sum, s) => sum + (s.by[kind] ?? 0), 0)])
      .filter(([, n]) => n > 0).map(([label, n]) => `${n} ${label}`).join(", ");
    const said = `Requests in the last minute: ${text || "none"}.`;
    $("summary").textContent = said;
    chart.canvas.setAttribute("aria-label", said);
  },
};

// ---- what the buttons do ----

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let sending = false;
async function send(most, untilLimited) {
  if (sending) return;
  sending = true;
  for (const id of ["send", "limit"]) $(id).disabled = true;
  $("outcome").hidden = false;
  const cells = Array.from({ length: most }, () => make("i"));
  $("cells").replaceChildren(...cells);
  const seen = { pass: 0, limited: 0, failed: 0 };
  let limits = "";
  let wait = "";
  const ask = async (cell) => {
    let kind = "failed";
    try {
      const answer = await fetch("/ping", { cache: "no-store" });
      kind = outcome(String(answer.status));
      limits = answer.headers.get("RateLimit") ?? limits;
      wait = answer.headers.get("Retry-After") ?? wait;
      await answer.arrayBuffer();
    } catch { /* the edge is gone: the cell says so */ }
    seen[kind] = (seen[kind] ?? 0) + 1;
    cell.className = `k-${kind}`;
  };
  const open = new Set();
  for (const cell of cells) {
    const asked = ask(cell).finally(() => open.delete(asked));
    open.add(asked);
    await pause(untilLimited ? 18 : 70);
    if (open.size >= 6) await Promise.race(open);
    if (untilLimited && seen.limited >= 12) break;
  }
  await Promise.all(open);
  const parts = [`${seen.pass} answered`];
  if (seen.limited) parts.push(`${seen.limited} over the limit`);
  if (seen.failed) parts.push(`${seen.failed} failed`);
  let text = `${parts.join(", ")}.`;
  if (seen.limited && wait) text += ` Retry-After: ${wait}.`;
  if (limits) text += ` RateLimit: ${limits}.`;
  if (seen.limited) text += " The chart goes on: its WebSocket was already let in.";
  $("told-limit").textContent = text;
  for (const id of ["send", "limit"]) $(id).disabled = false;
  sending = false;
}

function runScript() {
  const button = $("script");
  const label = button.querySelector("span");
  const name = (seconds) => { label.textContent = `${seconds} s`; };
  name(script.seconds);
  button.addEventListener("click", async () => {
    button.disabled = true;
    const answer = await fetch("/script", { method: "POST" }).catch(() => undefined);
    if (answer?.status === 202 || answer?.status === 409) {
      for (let left = script.seconds; left > 0; left--) {
        name(left);
        await pause(1000);
      }
    }
    name(script.seconds);
    button.disabled = false;
  });
}

// ---- the WebSocket ----

let retry = 500;
function listen() {
  const socket = new WebSocket(`${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/live`);
  const state = (name, text) => {
    $("state").className = `state ${name}`;
    $("state").lastElementChild.textContent = text;
  };
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.history) {
      retry = 500;
      state("live", "live, through the edge");
      chart.samples = [];
      for (const sample of message.history) chart.add(sample);
      figures.tell();
      return;
    }
    chart.add(message);
    figures.show(message);
    gate.count(message);
    if (still.matches) chart.paint();
  });
  socket.addEventListener("close", () => {
    state("lost", "the edge is away, trying again");
    setTimeout(listen, retry);
    retry = Math.min(retry * 2, 8000);
  });
}

function frame(now) {
  if (!still.matches) {
    chart.paint();
    gate.move(now);
  }
  requestAnimationFrame(frame);
}
function layOut() {
  chart.resize();
  gate.draw();
  chart.paint();
}

fillHost();
fillServices();
fillLines();
fillTold();
figures.build();
runScript();
$("send").addEventListener("click", () => send(20, false));
$("limit").addEventListener("click", () => send(150, true));
chart.box.addEventListener("pointermove", (event) => {
  chart.pointer = event.clientX - chart.box.getBoundingClientRect().left;
});
chart.box.addEventListener("pointerleave", () => { chart.pointer = null; });
new ResizeObserver(layOut).observe(chart.box);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layOut);
layOut();
setInterval(() => figures.tell(), 10000);
requestAnimationFrame(frame);
listen();
