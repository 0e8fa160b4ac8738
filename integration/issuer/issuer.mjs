// Runs oauth2-mock-server for the tests: `node issuer.mjs PORT CONTROL [KEY CERT]`, with
// TLS when it is given a key and a certificate. On the port CONTROL a test tells it what
// to do, one JSON object a POST:
//
//   {publish, alg}    makes a key and publishes it under an id; what it signs next, it
//                     signs with the newest
//   {withdraw}        publishes a key no more
//   {token, claims}   a token under a key's id
//   {people}          from now on: `claims` of whoever signs in, null for none; `info`,
//                     what userinfo says; `authorize`, parameters of the way back from
//                     /authorize; `token`, what /token answers
//   {seen}            the requests to /token so far
import { createServer } from "node:http";
import { OAuth2Server } from "oauth2-mock-server";

const [port, control, key, cert] = process.argv.slice(2);
const server = new OAuth2Server(key, cert);
const { issuer, service } = server;

// The server keeps every key for ever; these it shows no more.
const { keys } = issuer;
const withdrawn = new Set();
const all = keys.toJSON.bind(keys);
keys.toJSON = (...args) => all(...args).filter((one) => !withdrawn.has(one.kid));

// It would sign with one after the other.
let newest;
const build = issuer.buildToken.bind(issuer);
issuer.buildToken = (how) => build({ kid: newest, ...how });

function merge(to, from) {
  for (const [name, value] of Object.entries(from ?? {})) {
    if (value === null) delete to[name];
    else to[name] = value;
  }
}

let people = {};
const seen = [];
service.on("beforeTokenSigning", (token) => merge(token.payload, people.claims));
service.on("beforeUserinfo", (answer) => merge(answer.body, people.info));
service.on("beforeAuthorizeRedirect", ({ url }) => {
  for (const [name, value] of Object.entries(people.authorize ?? {})) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
});
service.on("beforeResponse", (answer, request) => {
  seen.push({ body: request.body, authorization: request.headers.authorization });
  merge(answer.body, people.token?.body);
  answer.statusCode = people.token?.status ?? answer.statusCode;
});

async function obey(order) {
  if (order.publish) {
    withdrawn.delete(order.publish);
    newest = order.publish;
    return await keys.generate(order.alg, { kid: order.publish });
  }
  if (order.withdraw) {
    withdrawn.add(order.withdraw);
    return {};
  }
  if (order.people) {
    people = order.people;
    return {};
  }
  if (order.seen) return seen;
  const claims = (_, payload) => { Object.assign(payload, order.claims); };
  return { token: await issuer.buildToken({ kid: order.token, scopesOrTransform: claims }) };
}

await server.start(Number(port), "127.0.0.1");
createServer(async (request, response) => {
  try {
    response.end(JSON.stringify(await obey(JSON.parse((await request.toArray()).join("")))));
  } catch (error) {
    response.writeHead(500).end(String(error?.stack ?? error));
  }
}).listen(Number(control), "127.0.0.1");
