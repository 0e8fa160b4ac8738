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
    const height = tall ? 500 : 196;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.style.height = `${height}px`;
    box.replaceChildren();
    this.dots = [];
    this.paths.clear();
    this.texts = { services: [], steps: [] };
    const put = (tag, attributes, text) => box.appendChild(svg(tag, attributes, text));
    // `along` runs with the flow, `across` to its side: two layouts from one drawing.
    const at = tall ? (along, across) => [36 + across, along] : (along, across) => [along, 78 + across];
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
        put("text", { x: x + 60, y: y - (s.out ? 6 : -4) }, s.name);
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
    put("text", { class: "small", x: tall ? x0 + 20 : x0, y: tall ? y0 + 4 : y0 - 11 }, "you and others");
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

