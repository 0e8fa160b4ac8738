// A terminal's looks over a WebSocket. Text reaches the page by textContent only.
const { facts, user, owner } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const MOST_LINES = 2000;
const past = [];
let at = 0;
let asked = 0;
let socket;
let left = false;

$("where").textContent = `in ${owner ?? facts.user}\u2019s pod ${facts.pod}`;

function print(text, kind) {
  const lines = text.replace(/\n$/, "").split("\n");
  for (const line of lines) {
    const p = document.createElement("p");
    p.className = kind;
    p.textContent = line;
    $("log").append(p);
  }
  while ($("log").childElementCount > MOST_LINES) $("log").firstElementChild.remove();
  $("screen").scrollTop = $("screen").scrollHeight;
}
function state(name, text) {
  $("state").className = `state ${name}`;
  $("state").lastElementChild.textContent = text;
}

let retry = 500;
function connect() {
  left = false;
  socket = new WebSocket(`${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/terminal`);
  socket.addEventListener("open", () => {
    retry = 500;
    state("live", "live, through the edge");
  });
  socket.addEventListener("message", ({ data }) => {
    if (asked && data === "pong\n") {
      print(`pong after ${(performance.now() - asked).toFixed(1)} ms`, "out");
      asked = 0;
    } else if (data) {
      print(data, "out");
    }
  });
  socket.addEventListener("close", () => {
    if (left) {
      state("lost", "closed");
      print("The socket is closed. Enter opens another.", "out");
      return;
    }
    state("lost", "away, trying again");
    setTimeout(connect, retry);
    retry = Math.min(retry * 2, 8000);
  });
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const line = $("line").value;
  $("line").value = "";
  print(line, "typed");
  if (line.trim() && past.at(-1) !== line) past.push(line);
  at = past.length;
  if (line.trim() === "clear") {
    $("log").replaceChildren();
  } else if (socket.readyState === WebSocket.OPEN) {
    left = /^\s*(exit|quit|logout)\s*$/.test(line);
    asked = line.trim() === "ping" ? performance.now() : 0;
    socket.send(line);
  } else if (left) {
    connect();
  } else {
    print("not connected; trying again", "bad");
  }
});
$("line").addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step) {
    event.preventDefault();
    at = Math.max(0, Math.min(past.length, at + step));
    $("line").value = past[at] ?? "";
  } else if (event.key === "l" && event.ctrlKey) {
    event.preventDefault();
    $("log").replaceChildren();
  }
});
$("screen").addEventListener("click", () => {
  if (!getSelection().toString()) $("line").focus();
});

print(`Hello${user ? `, ${facts.users[user] ?? user}` : ""}. This looks like a terminal and runs nothing on the machine:`, "out");
print("what you type crosses the edge on a WebSocket and comes back. Try help.", "out");
print("", "out");
connect();
