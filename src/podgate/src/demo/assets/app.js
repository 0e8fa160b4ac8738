// ---- the figures ----

const figures = {
  cells: {},
  totals: { away: 0, limited: 0 },

  build() {
    for (const [key, label, unit] of [
      ["rate", "requests", "/s"], ["p50", "p50 latency", "ms"], ["p99", "p99 latency", "ms"],
      ["sockets", "WebSockets", "open"], ["away", "turned away", ""], ["limited", "over the limit", ""],
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

// One request a second keeps the line moving, and costs nothing: the limit grows back
// faster than that.
let live = false;
setInterval(() => {
  if (live && !sending && !document.hidden) fetch("/ping", { cache: "no-store" }).catch(() => {});
}, 1000);

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
      live = true;
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
    live = false;
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
