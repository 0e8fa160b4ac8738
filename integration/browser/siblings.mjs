// One pod's pages try everything against a sibling's visitor. Each attempt says what
// came of it; the test knows what should have.
//
// `url` is the victim's service, where its owner signs in first; `evil` is the
// sibling's, which is public and serves any page its owner likes; `ticket` is the path
// by which the sibling would sign the visitor in as somebody else; `elsewhere` is another
// site's page that sends whoever comes on to the victim's `/secret`.
export async function siblings(page, context, url, evil, ticket, elsewhere) {
  const victim = new URL(url).origin;
  const seen = { attempts: {} };
  const sessions = async () => (await context.cookies(victim)).filter((cookie) => cookie.name.toLowerCase().includes("podgate"));
  const whoami = async () => {
    await page.goto(`${victim}/echo`);
    return page.evaluate(() => document.body.textContent);
  };

  // Signs in as people do: opens the page, is sent to where one signs in, comes back.
  await page.goto(`${victim}/echo?deep=link`);
  seen.asked = new URL(page.url()).host;
  seen.title = await page.title();
  await page.getByRole("link", { name: "john" }).click();
  await page.waitForURL(`${victim}/**`);
  seen.came_back = page.url();
  seen.before = await whoami();
  const [session] = await sessions();
  seen.cookie = { ...session, value: undefined, expires: undefined };
  seen.script_sees = await page.evaluate(() => document.cookie);

  await page.goto(`${evil}/`);
  const attempt = async (name, attack, argument) => {
    try {
      seen.attempts[name] = await page.evaluate(attack, argument ?? victim);
    } catch (error) {
      seen.attempts[name] = `error: ${error.message.split("\n")[0]}`;
    }
  };

  // Cookies: take, plant, shadow.
  const domain = new URL(victim).hostname.split(".").slice(1).join(".");
  await attempt("read", () => document.cookie);
  await attempt("plant", (domain) => {
    for (const name of ["__Host-podgate", "__host-podgate", " __Host-podgate", "=__Host-podgate", "__Host-podgate ", "__Host-podgate-login"]) {
      for (const scope of [`Domain=${domain}; `, `Domain=.${domain}; `, ""]) {
        for (const path of ["Path=/; ", "Path=/echo; "]) document.cookie = `${name}=planted; ${scope}${path}Secure`;
      }
    }
  }, domain);
  await attempt("server plants", () => fetch("/plant").then((answer) => answer.status));
  seen.planted = (await sessions()).filter((cookie) => cookie.value !== session.value).map((cookie) => cookie.name);

  // Requests with the visitor's session.
  await attempt("fetch", (victim) => fetch(`${victim}/secret`, { credentials: "include" })
    .then((answer) => answer.text(), (error) => `refused: ${error.name}`));
  await attempt("fetch without cors", (victim) => fetch(`${victim}/secret?no-cors`, { credentials: "include", mode: "no-cors" })
    .then((answer) => answer.type));
  await attempt("fetch of change", (victim) => fetch(`${victim}/change`, { method: "POST", credentials: "include", mode: "no-cors" })
    .then((answer) => answer.type));
  await attempt("fetch with preflight", (victim) => fetch(`${victim}/change`, { method: "PUT", credentials: "include" })
    .then((answer) => answer.status, (error) => `refused: ${error.name}`));
  await attempt("beacon", (victim) => navigator.sendBeacon(`${victim}/change`, "x"));
  await attempt("image", (victim) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done("loaded");
    image.onerror = () => done("failed");
    image.src = `${victim}/image.svg`;
  }));
  await attempt("script", (victim) => new Promise((done) => {
    const script = document.createElement("script");
    script.onload = () => done(`loaded ${window.stolen}`);
    script.onerror = () => done("failed");
    script.src = `${victim}/script.js`;
    document.head.append(script);
  }));
  await attempt("websocket", (victim) => new Promise((done) => {
    const socket = new WebSocket(`${victim.replace("https", "wss")}/ws`);
    socket.onopen = () => done("open");
    socket.onerror = () => done("failed");
  }));
  await attempt("event source", (victim) => new Promise((done) => {
    const source = new EventSource(`${victim}/secret?events`, { withCredentials: true });
    source.onopen = () => done("open");
    source.onerror = () => { source.close(); done("failed"); };
  }));
  const framed = async (name, path) => {
    await attempt(name, (at) => new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = () => setTimeout(() => done(String(frame.contentDocument)), 100);
      frame.src = at;
      document.body.append(frame);
    }), `${victim}${path}`);
    const frame = page.frames().find((frame) => frame.url().startsWith(`${victim}${path}`));
    seen.attempts[`${name} shows`] = frame ? await frame.evaluate(() => document.body.innerText.split("\n")[0]) : "nothing";
  };
  await framed("iframe", "/secret");
  await framed("iframe signs out", "/.podgate/logout");
  // By way of another site: browsers then say `cross-site`, and send the cookie still.
  await page.goto(`${evil}/`);
  await attempt("bounced iframe", (elsewhere) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => setTimeout(() => done(String(frame.contentDocument)), 100);
    frame.src = elsewhere;
    document.body.append(frame);
  }), elsewhere);
  const bounced = page.frames().find((frame) => frame.url().startsWith(`${victim}/secret`));
  seen.attempts["bounced iframe shows"] = bounced ? await bounced.evaluate(() => document.body.innerText.split("\n")[0]) : "nothing";

  // Leaves the page: a form, a link, another's ticket.
  await page.goto(`${evil}/`);
  await page.evaluate((victim) => {
    const form = document.createElement("form");
    form.method = "POST";
    form.action = `${victim}/change`;
    document.body.append(form);
    form.submit();
  }, victim);
  await page.waitForURL(`${victim}/change`);
  seen.attempts.form = await page.evaluate(() => document.body.innerText);
  await page.goto(`${evil}/`);
  await page.evaluate((victim) => {
    const form = document.createElement("form");
    form.method = "POST";
    form.action = `${victim}/.podgate/logout`;
    document.body.append(form);
    form.submit();
  }, victim);
  await page.waitForURL(`${victim}/.podgate/logout`);
  seen.attempts["form signs out"] = await page.evaluate(() => document.body.innerText);
  await page.goto(`${evil}/`);
  await page.evaluate((at) => { location.href = at; }, `${victim}${ticket}`);
  await page.waitForURL(`${victim}/.podgate/login**`);
  seen.attempts["another's ticket"] = await page.evaluate(() => document.body.innerText);

  seen.after = await whoami();
  seen.same_session = (await sessions()).some((cookie) => cookie.value === session.value);
  await page.goto(`${victim}/.podgate/logout`);
  seen.signed_out = await page.evaluate(() => document.body.innerText);
  seen.left = (await sessions()).length;
  return seen;
}
