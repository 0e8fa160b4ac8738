// Drives Chromium for the tests: `node browse.mjs SCENARIO URL [MORE]` prints one
// JSON object of what it saw, or fails. Waiting is bounded by playwright's own
// 30 seconds a step.
import { writeFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { oidc } from "./oidc.mjs";
import { siblings } from "./siblings.mjs";

const [scenario, url, ...more] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
  ],
});
// The tests' own authority is in no store.
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();

// Every WebSocket of the page, and what became of it.
const sockets = [];
page.on("websocket", (socket) => {
  const seen = { url: socket.url(), received: 0, closed: false };
  sockets.push(seen);
  socket.on("framereceived", () => { seen.received += 1; });
  socket.on("close", () => { seen.closed = true; });
});

const scenarios = {
  // Changes a module on disk: the page must show it without being loaded again.
  async vite(file) {
    await page.goto(url);
    await page.getByText("before", { exact: true }).waitFor();
    const loaded = await page.evaluate(() => window.loaded);
    writeFileSync(file, 'export const words = "after";\n');
    await page.getByText("after", { exact: true }).waitFor();
    return { reloaded: (await page.evaluate(() => window.loaded)) !== loaded };
  },

  oidc: (seconds, workbench) => oidc(page, context, url, seconds, workbench),

  siblings: (evil, ticket, elsewhere) => siblings(page, context, url, evil, ticket, elsewhere),

  // Types into a real terminal and reads the answer off its screen.
  async ttyd() {
    const screen = () => page.evaluate(() => {
      const buffer = window.term?.buffer?.active;
      if (!buffer) return "";
      return Array.from({ length: buffer.length }, (_, row) => buffer.getLine(row).translateToString(true)).join("\n");
    });
    const shows = async (text) => {
      for (let tries = 0; tries < 300; tries += 1) {
        if ((await screen()).includes(text)) return;
        await page.waitForTimeout(100);
      }
      throw new Error(`the terminal never showed ${text}:\n${await screen()}`);
    };
    await page.goto(url);
    await shows("$");
    await page.keyboard.type("echo answer-$((6*7))\n");
    await shows("answer-42");
    return { screen: (await screen()).trim() };
  },
};

try {
  console.log(JSON.stringify({ ...(await scenarios[scenario](...more)), sockets }));
} finally {
  await browser.close();
}
