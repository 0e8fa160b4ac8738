//! What the demo tells: to the page, to a program (`--json`), and to the person who
//! started it.

use std::fmt::Write as _;

use model::Visibility;
use serde_json::{Value, json};

use super::addresses::Addresses;
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
            let file = if service.shared { "mary.token" } else { "john.token" };
            let mut told = json!({
                "name": service.name,
                "visibility": service.visibility,
                "url": service.url,
                "about": about(service),
                "who": who,
                "token_file": place.shown(file),
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
        "console_line": format!(
            "document.cookie = \"{}=\" + prompt(\"token\") + \"; path=/; secure\"",
            filters::auth::SESSION_COOKIE
        ),
    })
}

/// The object of `--json`, on one line.
pub(super) fn json(world: &World, addresses: &Addresses, pki: &Pki) -> Value {
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
    })
}

/// What a person reads; with colour on a terminal.
pub(super) fn text(world: &World, addresses: &Addresses, place: &Place, colour: bool) -> String {
    let paint = |code: &'static str| {
        move |text: &str| {
            if colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        }
    };
    let (bold, soft, green, red) = (paint("1"), paint("2"), paint("32"), paint("31"));
    let mut out = String::new();
    let mut say = |line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}",
            if line.is_empty() {
                String::new()
            } else {
                format!("  {line}")
            }
        );
    };
    say("");
    say(&format!("{}  is up. Open the app:", bold("podgate")));
    say("");
    for service in &world.services {
        let who = match (service.visibility, service.shared) {
            (Visibility::Public, _) => "everybody",
            (_, true) => "john, and mary for an hour",
            _ => "john",
        };
        say(&format!(
            "{:<5} {}  {}",
            bold(service.name.as_str()),
            green(&service.url),
            soft(who)
        ));
    }
    say("");
    say(&soft(&format!(
        "The browser will ask about the certificate, whose authority is {}.",
        place.shown("ca.pem")
    )));
    say("");
    say("Try:");
    for line in lines(world, place) {
        say("");
        let status = line.status.to_string();
        say(&format!(
            "{} {}",
            soft(&format!("# {}", line.about)),
            if line.status < 400 {
                green(&status)
            } else {
                red(&status)
            }
        ));
        for part in line.command.lines() {
            say(part);
        }
    }
    say("");
    say("Tokens, good for a day:");
    for person in [&world.john, &world.mary] {
        say("");
        let file = place.shown(&format!("{}.token", person.name));
        say(&format!("{}  {}", bold(person.name.as_str()), soft(&file)));
        say(&person.token);
    }
    say("");
    say(&format!(
        "API      http://{}/api/v1  {}",
        addresses.control,
        soft(&format!("token in {}", place.shown("admin.token")))
    ));
    say(&format!("Metrics  http://{}/metrics", addresses.admin));
    say(&format!("Config   {}", place.shown("podgate.toml")));
    say("");
    say("Ctrl-C ends it.");
    say("");
    out
}
