// A person's days with a service whose people sign in at a provider: the first visit,
// use, a break, signing out, and the service inside of another site's page.
//
// `url` is a private service, `seconds` how long its sessions live without use, and
// `workbench` a page of another site with a frame for the service. The provider asks
// nothing: whoever is sent there comes back as the same person.
export async function oidc(page, context, url, seconds, workbench) {
  const origin = new URL(url).origin;
  const seen = {};
  let asked = 0;
  page.on("request", (request) => { asked += new URL(request.url()).pathname === "/authorize" ? 1 : 0; });
  const session = async (where) => (await context.cookies(origin))
    .find((cookie) => cookie.name === "__Host-podgate" && Boolean(cookie.partitionKey) === (where === "frame"));
  const text = (frame) => frame.evaluate(() => document.body.textContent);
  const status = () => page.evaluate(() => fetch("/echo").then((answer) => answer.status));

  await page.goto(`${origin}/echo?deep=link`);
  seen.came_back = page.url();
  seen.first = await text(page);
  seen.asked = asked;

  // The app's own cookies are the app's.
  await page.evaluate(() => fetch("/set").then((answer) => answer.text()));
  seen.script_sees = await page.evaluate(() => document.cookie);
  await page.goto(`${origin}/echo`);
  seen.app_sees = await text(page);

  // In use for longer than a session lives, without a word of signing in.
  const before = await session();
  const until = Date.now() + Number(seconds) * 1500;
  const statuses = new Set();
  while (Date.now() < until) {
    statuses.add(await status());
    await page.waitForTimeout(200);
  }
  seen.in_use = [...statuses];
  seen.renewed = (await session()).value !== before.value;
  seen.asked_in_use = asked - seen.asked;

  // A break for longer than that.
  await page.waitForTimeout(Number(seconds) * 1000 + 2000);
  seen.after_break = await status();
  await page.goto(`${origin}/echo?again`);
  seen.again = page.url();
  seen.asked_again = asked - seen.asked;

  await page.goto(`${origin}/.podgate/logout`);
  seen.logout = await page.title();
  seen.signed_out = await status();
  seen.left = (await context.cookies(origin)).map((cookie) => cookie.name);

  // Inside of a page of another site.
  await page.goto(workbench);
  const frame = page.frame({ name: "app" });
  await frame.waitForURL(`${origin}/echo?framed`);
  await frame.getByText("x-user-id").waitFor();
  seen.framed = await text(frame);
  seen.framed_use = await frame.evaluate(() => fetch("/echo").then((answer) => answer.status));
  seen.framed_session = Boolean(await session("frame"));
  seen.top_session = Boolean(await session());
  return seen;
}
