// Runs oauth2-mock-server for the tests: `node issuer.mjs PORT CONTROL [KEY CERT]`, with
// TLS when it is given a key and a certificate. On the port CONTROL a test tells it what
// to do, one JSON object a POST: {publish, alg} {withdraw} {token, claims}.
import { createServer } from "node:http";
import { OAuth2Server } from "oauth2-mock-server";

const [port, control, key, cert] = process.argv.slice(2);
const server = new OAuth2Server(key, cert);

// The server keeps every key for ever; these it shows no more.
const { keys } = server.issuer;
const withdrawn = new Set();
const all = keys.toJSON.bind(keys);
keys.toJSON = (...args) => all(...args).filter((one) => !withdrawn.has(one.kid));

async function obey(order) {
  if (order.publish) {
    withdrawn.delete(order.publish);
    return await keys.generate(order.alg, { kid: order.publish });
  }
  if (order.withdraw) {
    withdrawn.add(order.withdraw);
    return {};
  }
  const claims = (_, payload) => { Object.assign(payload, order.claims); };
  return { token: await server.issuer.buildToken({ kid: order.token, scopesOrTransform: claims }) };
}

await server.start(Number(port), "127.0.0.1");
createServer(async (request, response) => {
  try {
    response.end(JSON.stringify(await obey(JSON.parse((await request.toArray()).join("")))));
  } catch (error) {
    response.writeHead(500).end(String(error?.stack ?? error));
  }
}).listen(Number(control), "127.0.0.1");
