//! What the demo tells: to the page, to a program (`--json`), and to the person who
//! started it.

use model::Visibility;
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::network::Network;
use super::pki::Pki;
use super::place::Place;
use super::world::{Service, World};

/// Something to try from a terminal, and what comes of it.
struct Line {
    about: &'static str,
    command: String,
    status: u16,
}

fn lines(world: &World, place: &Place) -> Vec<Line> {
    let Some(api) = world.service("api") else {
        return Vec::new();
    };
    let curl = |token: Option<&str>| {
        let ca = place.shown("ca.pem");
        let auth = token.map_or_else(String::new, |file| {
            format!(" -H \"Authorization: Bearer $(cat {})\" \\\n ", place.shown(file))
        });
        format!("curl --cacert {ca}{auth} {}hello", api.url)
    };
    vec![
        Line {
            about: "The api is private: without a token it stays shut.",
            command: curl(None),
            status: 401,
        },
        Line {
            about: "It opens for john, whose pod it is.",
            command: curl(Some("john.token")),
            status: 200,
        },
        Line {
            about: "Not for mary: john shared code with her, not the api.",
            command: curl(Some("mary.token")),
            status: 403,
        },
    ]
}

fn about(service: &Service) -> &'static str {
    match service.name.as_str() {
        "app" => "The page you are looking at, and its WebSocket.",
        "api" => "A small JSON API: a list to change, a slow answer, a stream of events.",
        _ => "What looks like a terminal, on a WebSocket.",
    }
}

/// What the pages tell of the demo. They are public: no tokens.
pub(super) fn facts(world: &World, place: &Place) -> Value {
    let services: Vec<Value> = world
        .services
        .iter()
        .map(|service| {
            let who = match (service.visibility, service.shared) {
                (Visibility::Public, _) => "Anybody may enter, at most 100 times a minute from one address.",
                (_, true) => "john, and mary by a share",
                _ => "john, and nobody else.",
            };
            let mut told = json!({
                "name": service.name,
                "visibility": service.visibility,
                "url": service.url,
                "about": about(service),
                "who": who,
            });
            if service.shared {
                told["shared_until"] = world.share_until.0.into();
            }
            told
        })
        .collect();
    let lines: Vec<Value> = lines(world, place)
        .into_iter()
        .map(|line| json!({ "about": line.about, "command": line.command, "status": line.status }))
        .collect();
    let app = world.service("app");
    json!({
        "service": "app",
        "pod": world.pod,
        "user": world.john.name,
        "host": app.map(|app| &app.host),
        "url": app.map(|app| &app.url),
        "users": { world.john.id.to_string(): world.john.name, world.mary.id.to_string(): world.mary.name },
        "services": services,
        "lines": lines,
    })
}

/// The object of `--json`, on one line.
pub(super) fn json(world: &World, addresses: &Addresses, pki: &Pki, network: &Network) -> Value {
    let services: Vec<Value> = world
        .services
        .iter()
        .map(|service| {
            json!({
                "name": service.name,
                "host": service.host,
                "url": service.url,
                "visibility": service.visibility,
            })
        })
        .collect();
    let person = |person: &super::world::Person| json!({ "id": person.id, "token": person.token });
    json!({
        "http": addresses.http,
        "https": addresses.https,
        "api": format!("http://{}", addresses.control),
        "metrics": format!("http://{}/metrics", addresses.admin),
        "admin_token": world.admin_token,
        "ca": pki.ca,
        "users": { world.john.name.as_str(): person(&world.john), world.mary.name.as_str(): person(&world.mary) },
        "services": services,
        "network": { "of": network.word(), "about": network.to_string() },
        "pod": world.id,
    })
}

/// What a person reads; with colour on a terminal.
pub(super) fn text(world: &World, addresses: &Addresses, place: &Place, network: &Network, colour: bool) -> String {
    let ink = Ink(colour);
    let mut services = String::new();
    for service in &world.services {
        let who = match (service.visibility, service.shared) {
            (Visibility::Public, _) => "everybody",
            (_, true) => "john, and mary for an hour",
            _ => "john",
        };
        let name = ink.bold(&format!("{:<5}", service.name.as_str()));
        services += &format!("  {name} {}  {}\n", ink.green(&service.url), ink.soft(who));
    }
    let mut tries = String::new();
    for line in lines(world, place) {
        let status = line.status.to_string();
        let status = if line.status < 400 {
            ink.green(&status)
        } else {
            ink.red(&status)
        };
        let command = line.command.replace('\n', "\n  ");
        tries += &format!("\n  {} {status}\n  {command}\n", ink.soft(&format!("# {}", line.about)));
    }
    let mut tokens = String::new();
    for person in [&world.john, &world.mary] {
        let file = place.shown(&format!("{}.token", person.name));
        let name = ink.bold(person.name.as_str());
        tokens += &format!("\n  {name}  {}\n  {}\n", ink.soft(&file), person.token);
    }
    format!(
        "
  {podgate} is up. Open the app:

{services}
  {network}
  {certificate}

  Try:
{tries}
  Tokens, good for a day:
{tokens}
  API      http://{control}/api/v1  {admin_token}
  Metrics  http://{admin}/metrics
  Config   {config}

  Ctrl-C ends it.

",
        podgate = ink.bold("podgate"),
        network = ink.soft(&network.to_string()),
        certificate = ink.soft(&format!(
            "The browser will ask about the certificate; its authority is {}.",
            place.shown("ca.pem")
        )),
        control = addresses.control,
        admin_token = ink.soft(&format!("token in {}", place.shown("admin.token"))),
        admin = addresses.admin,
        config = place.shown("podgate.toml"),
    )
}

/// Colours, or none.
struct Ink(bool);

impl Ink {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn soft(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }
}
