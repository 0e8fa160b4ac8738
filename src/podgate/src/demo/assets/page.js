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
      card.append(make("p", { className: "go" }, make("a", { href: service.url }, "Knock"), " and say who you are"));
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
  "x-user-id": "who is asking; here only when a session or a token said so",
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

