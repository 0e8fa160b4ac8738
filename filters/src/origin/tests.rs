//! Which pages' requests carry their visitor's session, and which may be read.

use http::{Method, Request};
use model::Access;

use crate::world::{World, client, embedded_session, gate, session, token};
use crate::{Gate, Refusal};

const OWN: &str = "https://api-myproject-john.pinacle.dev";
const SIBLING: &str = "https://app-myproject-john.pinacle.dev";
const EVIL: &str = "https://app-evil-eve.pinacle.dev";

struct Doors {
    world: World,
    gate: Gate,
}

impl Doors {
    fn new() -> Self {
        Self {
            world: World::new(),
            gate: gate([1_000_000; 3]),
        }
    }

    /// What comes of a request of john's browser to a service.
    fn ask(&self, service: &str, method: &str, fields: &[(&str, &str)]) -> Result<(Access, bool), Refusal> {
        let host = format!("{service}-myproject-john.pinacle.dev");
        self.ask_with(&session(&self.world.john, &host, (0, 0, 60)), service, method, fields)
    }

    fn ask_with(
        &self,
        session: &str,
        service: &str,
        method: &str,
        fields: &[(&str, &str)],
    ) -> Result<(Access, bool), Refusal> {
        let host = format!("{service}-myproject-john.pinacle.dev");
        let mut request = Request::builder()
            .method(method)
            .header("host", host)
            .header("cookie", format!("__Host-podgate={session}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request").into_parts().0;
        let admitted = self
            .gate
            .admit(&self.world, &request, &client("192.0.2.1"), self.world.now());
        admitted
            .map(|admitted| (admitted.access(), admitted.caller().is_some()))
            .map_err(|denied| denied.refusal)
    }
}

const IN: Result<(Access, bool), Refusal> = Ok((Access::Owner, true));
const FOREIGN: Result<(Access, bool), Refusal> = Err(Refusal::ForeignOrigin);

#[test]
fn only_its_own_pages_act_with_a_session() {
    let doors = Doors::new();
    let socket = ("upgrade", "websocket");
    for (method, upgrade) in [
        ("GET", false),
        ("POST", false),
        ("DELETE", false),
        ("GET", true),
        ("BREW", false),
    ] {
        let with = |origin: &str| {
            let mut fields = vec![("origin", origin)];
            fields.extend(upgrade.then_some(socket));
            doors.ask("api", method, &fields)
        };
        assert_eq!(with(OWN), IN, "{method}");
        assert_eq!(with(&OWN.to_uppercase().replace("HTTPS", "https")), IN);
        for foreign in [
            EVIL,
            SIBLING,
            "null",
            "https://evil.example",
            "http://api-myproject-john.pinacle.dev",
            "https://api-myproject-john.pinacle.dev:8443",
            "https://api-myproject-john.pinacle.dev.evil.example",
            "https://xapi-myproject-john.pinacle.dev",
            "https://pinacle.dev",
            "",
        ] {
            assert_eq!(with(foreign), FOREIGN, "{method} from {foreign}");
        }
    }
    // What can change something says where it comes from.
    for (method, fields) in [("POST", &[][..]), ("PUT", &[]), ("GET", &[socket])] {
        assert_eq!(doors.ask("api", method, fields), FOREIGN, "{method}");
        let site = |site| {
            let fields: Vec<_> = fields.iter().copied().chain([("sec-fetch-site", site)]).collect();
            doors.ask("api", method, &fields)
        };
        assert_eq!(site("same-origin"), IN);
        assert_eq!(site("same-site"), FOREIGN);
        assert_eq!(site("cross-site"), FOREIGN);
    }
    // Twice is not once.
    assert_eq!(doors.ask("api", "POST", &[("origin", OWN), ("origin", EVIL)]), FOREIGN);
}

#[test]
fn people_follow_links_and_pages_do_not_include_each_other() {
    let doors = Doors::new();
    let check = |site: &str, mode: &str, dest: &str, referer: &str, expected| {
        let fields = [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
            ("referer", referer),
        ];
        assert_eq!(doors.ask("api", "GET", &fields), expected, "{fields:?}");
    };
    let evil = &format!("{EVIL}/page");
    check("none", "navigate", "document", "", IN);
    check("same-site", "navigate", "document", evil, IN);
    check("cross-site", "navigate", "document", "https://evil.example/", IN);
    // A sibling's frame that another site sent on here says the same as the workbench's:
    // only a session made for frames counts there.
    check("cross-site", "navigate", "iframe", "https://work.example/", FOREIGN);
    check("same-origin", "no-cors", "image", &format!("{OWN}/page"), IN);
    check("same-site", "navigate", "iframe", evil, FOREIGN);
    check("same-site", "navigate", "object", evil, FOREIGN);
    check("same-site", "no-cors", "script", evil, FOREIGN);
    check("same-site", "no-cors", "image", "", FOREIGN);
    check("cross-site", "no-cors", "image", "https://evil.example/", FOREIGN);
    check("same-site", "no-cors", "image", &format!("{SIBLING}/"), FOREIGN);
    // An old browser says nothing.
    assert_eq!(doors.ask("api", "GET", &[]), IN);
    let framed = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "iframe"),
    ];
    let embedded = embedded_session(&doors.world.john, "api-myproject-john.pinacle.dev");
    assert_eq!(doors.ask_with(&embedded, "api", "GET", &framed), IN);
}

#[test]
fn a_service_may_trust_its_owners_others() {
    let mut doors = Doors::new();
    doors.world.open_to_siblings("api");
    let from = |origin| doors.ask("api", "POST", &[("origin", origin)]);
    assert_eq!(from(SIBLING), IN);
    assert_eq!(from(OWN), IN);
    for stranger in [
        EVIL,
        "https://nobody.pinacle.dev",
        "https://pinacle.dev",
        "https://x.app-myproject-john.pinacle.dev",
        "http://app-myproject-john.pinacle.dev",
        "https://app-myproject-john.pinacle.dev:444",
        "https://app-myproject-john.pinacle.dev.evil.example",
    ] {
        assert_eq!(from(stranger), FOREIGN, "{stranger}");
    }
    let framed = |referer: &str| {
        let fields = [
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
            ("referer", referer),
        ];
        doors.ask("api", "GET", &fields)
    };
    assert_eq!(framed(&format!("{SIBLING}/a/b")), IN);
    assert_eq!(framed(SIBLING), IN);
    assert_eq!(framed(&format!("{EVIL}/{SIBLING}/")), FOREIGN);
    assert_eq!(framed(""), FOREIGN);
}

#[test]
fn on_a_public_service_a_foreign_page_is_nobody() {
    let doors = Doors::new();
    let nobody = Ok((Access::Public, false));
    assert_eq!(doors.ask("app", "POST", &[("origin", EVIL)]), nobody);
    assert_eq!(doors.ask("app", "POST", &[]), nobody);
    let own = "https://app-myproject-john.pinacle.dev";
    assert_eq!(doors.ask("app", "POST", &[("origin", own)]), IN);
}

#[test]
fn tokens_in_headers_need_no_origin() {
    let doors = Doors::new();
    let token = token(&doors.world.john);
    for fields in [
        [("x-podgate-token", token.as_str()), ("origin", EVIL)],
        [("authorization", &format!("Bearer {token}")), ("origin", EVIL)],
    ] {
        let mut request = Request::post("/").header("host", "api-myproject-john.pinacle.dev");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request").into_parts().0;
        let admitted = doors
            .gate
            .admit(&doors.world, &request, &client("192.0.2.1"), doors.world.now());
        assert_eq!(admitted.expect("in").access(), Access::Owner);
    }
}

#[test]
fn preflights_of_what_is_not_public_are_answered_here() {
    let mut doors = Doors::new();
    doors.world.open_to_siblings("api");
    let ask = |service: &str, method: Method, origin: &str, wants: Option<&str>| {
        let mut request = Request::builder()
            .method(method)
            .header("host", format!("{service}-myproject-john.pinacle.dev"))
            .header("origin", origin);
        if let Some(wants) = wants {
            request = request.header("access-control-request-method", wants);
        }
        let request = request.body(()).expect("a request").into_parts().0;
        let preflight = doors.gate.preflight(&doors.world, &request, &client("192.0.2.1"));
        preflight.map(|preflight| preflight.allowed)
    };
    assert_eq!(ask("api", Method::OPTIONS, SIBLING, Some("PUT")), Some(true));
    assert_eq!(ask("api", Method::OPTIONS, OWN, Some("PUT")), Some(true));
    assert_eq!(ask("api", Method::OPTIONS, EVIL, Some("PUT")), Some(false));
    assert_eq!(ask("wiki", Method::OPTIONS, SIBLING, Some("PUT")), Some(false));
    assert_eq!(
        ask("app", Method::OPTIONS, EVIL, Some("PUT")),
        None,
        "public: the pod's"
    );
    assert_eq!(ask("api", Method::OPTIONS, SIBLING, None), None);
    assert_eq!(ask("api", Method::GET, SIBLING, Some("PUT")), None);
}
