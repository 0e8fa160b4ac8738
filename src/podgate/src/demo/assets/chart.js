// ---- the chart ----

const TICK = 250;
const BAR = 500;
const chart = {
  box: $("chart"),
  canvas: $("chart").querySelector("canvas"),
  samples: [],
  ahead: 0, // the demo's clock minus this browser's
  top: 4,
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

  // Half-second bars that keep their place in time: a bar is filled, never moved.
  bars(seen) {
    const bars = new Map();
    for (const sample of seen) {
      const at = Math.floor(sample.at / BAR) * BAR;
      const bar = bars.get(at) ?? { at, by: {}, total: 0, p50: null, p99: null };
      for (const [kind, n] of Object.entries(sample.by)) bar.by[kind] = (bar.by[kind] ?? 0) + n;
      bar.total += sample.total;
      bar.p50 = sample.p50;
      bar.p99 = sample.p99;
      bars.set(at, bar);
    }
    return [...bars.values()];
  },

  paint() {
    const { pen, colors } = this;
    const [width, height] = this.size;
    const [left, right] = [40, width - 2];
    const [roof, floor] = [8, height - 122];
    const [roof2, floor2] = [height - 84, height - 24];
    const span = this.span();
    // A little late, so that a bar slides in rather than pops up.
    const now = Date.now() + this.ahead - 350;
    const x = (at) => right - ((now - at) / span) * (right - left);
    const seen = this.bars(this.samples.filter((s) => s.at > now - span - BAR));
    const rate = (bar) => bar.total * (1000 / BAR);

    const nice = (value, steps) => steps.find((step) => step >= value) ?? Math.ceil(value / 1000) * 1000;
    const want = nice(Math.max(...seen.map(rate), 0) * 1.08, [4, 8, 16, 24, 40, 60, 80, 120, 160, 240, 320, 480, 800, 1200, 2000]);
    const wantSlow = nice(Math.max(...seen.map((bar) => bar.p99 ?? 0), 0), [10, 100, 1000, 10000]);
    const ease = still.matches ? 1 : .14;
    this.top += (want - this.top) * ease;
    this.slow += (wantSlow - this.slow) * ease;
    const y = (value) => floor - (value / this.top) * (floor - roof);
    // Latencies on a logarithmic scale from a tenth of a millisecond.
    const y2 = (value) => floor2 - (Math.log(Math.max(value, .1) / .1) / Math.log(this.slow / .1)) * (floor2 - roof2);

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
    for (let value = .1; value <= wantSlow; value *= 10) {
      const round = Number(value.toPrecision(1));
      rule(y2(value), wantSlow <= 100 || round !== .1 ? String(round) : "");
    }
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    let from = left;
    for (const [text, color] of [["milliseconds: ", "soft"], ["p50", "pass"], ["  p99", "ink"]]) {
      pen.fillStyle = colors[color];
      pen.fillText(text, from, roof2 - 10);
      from += pen.measureText(text).width;
    }
    pen.fillStyle = colors.soft;
    pen.fillText("requests a second", left, roof + 16);
    pen.textBaseline = "top";
    for (let ago = 0; ago <= span; ago += span / (width < 600 ? 2 : 4)) {
      pen.textAlign = ago === 0 ? "right" : ago === span ? "left" : "center";
      pen.fillText(ago === 0 ? "now" : `${ago / 1000} s ago`, right - (ago / span) * (right - left), floor2 + 9);
    }

    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    const wide = Math.max(1, (BAR / span) * (right - left) - 1.5);
    for (const bar of seen) {
      let base = floor;
      for (const [kind] of OUTCOMES) {
        const n = bar.by[kind];
        if (!n) continue;
        const tall = (n * (1000 / BAR) / this.top) * (floor - roof);
        pen.fillStyle = colors[kind];
        pen.fillRect(x(bar.at), base - tall, wide, tall);
        base -= tall;
      }
    }
    for (const [key, color, weight] of [["p99", colors.ink, 1], ["p50", colors.pass, 1.75]]) {
      pen.strokeStyle = color;
      pen.lineWidth = weight;
      pen.lineJoin = "round";
      pen.beginPath();
      let down = false;
      for (const bar of seen) {
        if (bar[key] == null) {
          down = false;
          continue;
        }
        const point = [x(bar.at + BAR / 2), y2(bar[key])];
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
      : seen.find((bar) => x(bar.at) <= at && at < x(bar.at + BAR));
    tip.hidden = !near;
    if (!near) return;
    this.pen.fillStyle = this.colors.soft;
    this.pen.fillRect(Math.round(at), roof, 1, floor - roof);
    const ago = Math.max(0, Date.now() + this.ahead - near.at) / 1000;
    const row = (label, value, kind) =>
      make("p", {}, make("span", {}, ...(kind ? [make("i", { className: `k-${kind}` })] : []), label), value);
    const rows = OUTCOMES.filter(([kind]) => near.by[kind]).map(([kind, label]) => row(label, String(near.by[kind]), kind));
    tip.replaceChildren(
      row(`${ago.toFixed(1)} s ago`, "in \u00bd s"),
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

