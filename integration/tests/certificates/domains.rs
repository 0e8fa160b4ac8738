//! Names of other people's, in a zone of theirs: shown by a record, led to a service, given a
//! certificate, and taken back.

use std::net::SocketAddr;

use http::Method;
use integration::client::{Door, Request};
use integration::origin;
use integration::process::knot::Knot;
use integration::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::Site;

const HOUR: u32 = 3600;
/// Whose zone it is.
const ZONE: &str = "example.test";
const SHOP: &str = "shop.example.test";

/// A podgate that asks this server about names.
async fn site(knot: &Knot, origin: SocketAddr, edge: &str) -> Site {
    let sections = format!(
        "challenge = \"http-01\"\n{edge}\n[dns]\nresolvers = [\"{}\"]\n",
        knot.address
    );
    Site::start(origin, HOUR, &sections).await
}

impl Site {
    async fn claim(&self, name: &str, service: &str) -> String {
        let claimed = json!({"name": name, "service": service});
        let claimed = self.api.ok(Method::POST, "certificates", claimed).await;
        claimed["claims"][0]["record"]["value"]
            .as_str()
            .expect("text")
            .to_owned()
    }

    /// Has a claim's record looked for until what is known of it is `such`.
    async fn look(&self, name: &str, such: impl Fn(&Value) -> bool) -> Value {
        let path = format!("certificates/{name}");
        until(&format!("a look for {name}"), async || {
            self.api.ok(Method::POST, &format!("{path}/verify"), json!(null)).await;
            let it = self.api.ok(Method::GET, &path, json!(null)).await;
            such(&it).then_some(it)
        })
        .await
    }

    /// Waits until a claim's record has been found.
    async fn shown(&self, name: &str) {
        self.look(name, |it| it["claims"][0]["verified_at"].is_string()).await;
    }

    /// Waits until this is told of a look in vain.
    async fn problem(&self, name: &str, says: &str) {
        let such = |it: &Value| it["problem"].as_str().is_some_and(|told| told.contains(says));
        let it = self.look(name, such).await;
        assert_eq!(
            (&it["claims"][0]["verified_at"], &it["issued"]),
            (&json!(null), &json!(false)),
            "{it}"
        );
    }

    /// The status of a plain request, which is only sent on to https where there is a service.
    async fn plain(&self, host: &str) -> u16 {
        Request::get(&Door::plain(self.http), host, "/").send().await.status()
    }

    async fn said(&self, args: &[&str]) -> (bool, String) {
        let said = self.command(args).await;
        let text = [said.stdout, said.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        (said.status.success(), text.concat())
    }
}

#[tokio::test]
async fn a_name_leads_to_its_service_once_its_zone_says_so() {
    let knot = Knot::serving(ZONE).await;
    let origin = origin::http1().route("/", "hello").run().await;
    let site = site(&knot, origin.addr(), "").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let label = site.service("app", origin.addr()).await;
    let other = site.service("api", origin.addr()).await;
    until("certificates of its own", async || {
        site.secure(&client, &label, "/").await?;
        site.secure(&client, &other, "/").await
    })
    .await;
    assert_eq!(site.pebble.orders(), 2);

    let (good, told) = site.said(&["cert", "add", SHOP, "--service", "john/web/app"]).await;
    assert!(good, "{told}");
    let it = site
        .api
        .ok(Method::GET, &format!("certificates/{SHOP}"), json!(null))
        .await;
    let value = it["claims"][0]["record"]["value"].as_str().expect("text").to_owned();
    assert!(
        told.contains(&format!("_podgate-verify.{SHOP} TXT \"{value}\"")),
        "{told}"
    );
    assert!(told.contains("podgate cert verify shop.example.test --wait"), "{told}");

    // Asked for by whoever likes, over any door, it leads nowhere, and nobody issues anything.
    site.problem(SHOP, &format!("no TXT record at _podgate-verify.{SHOP}"))
        .await;
    for host in [SHOP, "stranger.example.test"] {
        assert_eq!(site.plain(host).await, 404, "{host}");
        assert!(site.secure(&client, host, "/").await.is_none(), "{host}");
    }
    let (good, told) = site.said(&["cert", "list"]).await;
    assert!(
        good && told.contains("john/web/app") && told.contains("not verified"),
        "{told}"
    );
    // Another service may claim it, too: who has the zone decides.
    let elsewhere = site.claim(SHOP, "john/web/api").await;
    assert_ne!(elsewhere, value);
    let (good, told) = site.said(&["cert", "verify", SHOP]).await;
    assert!(!good && told.contains("say which one"), "{told}");
    let (good, told) = site.said(&["cert", "remove", SHOP, "--service", "john/web/api"]).await;
    assert!(good, "{told}");

    // Another value is not the claim's.
    knot.set_txt(ZONE, &format!("_podgate-verify.{SHOP}"), &elsewhere).await;
    site.problem(SHOP, &format!("must say {value}, and says `{elsewhere}`"))
        .await;
    assert_eq!(site.plain(SHOP).await, 404);
    assert_eq!(site.pebble.orders(), 2, "nothing was ordered for it");

    knot.set_txt(ZONE, &format!("_podgate-verify.{SHOP}"), &value).await;
    let (good, told) = site.said(&["cert", "verify", SHOP, "--wait"]).await;
    assert!(good && told.contains("leads to john/web/app"), "{told}");
    let answer = until("a certificate", async || site.secure(&client, SHOP, "/").await).await;
    assert_eq!(answer.body(), "hello");
    assert_eq!(site.pebble.orders(), 3);
    assert_eq!(site.plain(SHOP).await, 308);
    assert_eq!(site.plain("stranger.example.test").await, 404);
    let it = site
        .api
        .ok(Method::GET, &format!("certificates/{SHOP}"), json!(null))
        .await;
    assert_eq!((&it["issued"], &it["problem"]), (&json!(true), &json!(null)), "{it}");
    let names = site.api.ok(Method::GET, "certificates", json!(null)).await;
    assert_eq!(names["items"].as_array().map(Vec::len), Some(3), "{names}");
    let (good, told) = site.said(&["cert", "show", SHOP]).await;
    assert!(
        good && told.contains("john/web/app") && told.contains("issued"),
        "{told}"
    );

    // It is john's app's, and nobody else's.
    let (good, told) = site.said(&["cert", "add", SHOP, "--service", "john/web/api"]).await;
    assert!(!good && told.contains("another service's already"), "{told}");
    // That the record goes takes nothing away, nor does a server that is away.
    knot.set_txt(ZONE, &format!("_podgate-verify.{SHOP}"), "other").await;
    knot.process.signal(Signal::STOP);
    assert!(site.secure(&client, SHOP, "/").await.is_some());
    knot.process.signal(Signal::CONT);

    // Taken back it leads nowhere, and its certificate is gone.
    let (good, told) = site.said(&["cert", "remove", SHOP]).await;
    assert!(good && told.contains("leads nowhere"), "{told}");
    until("no way there", async || (site.plain(SHOP).await == 404).then_some(())).await;
    until("no certificate", async || {
        site.secure(&client, SHOP, "/").await.is_none().then_some(())
    })
    .await;
    let gone = site
        .api
        .call(Method::GET, &format!("certificates/{SHOP}"), json!(null))
        .await;
    assert_eq!(gone.status(), 404);
    assert!(site.secure(&client, &label, "/").await.is_some());
}

#[tokio::test]
async fn a_name_goes_with_its_service() {
    let knot = Knot::serving(ZONE).await;
    let origin = origin::http1().route("/", "hello").run().await;
    let site = site(&knot, origin.addr(), "").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    site.service("app", origin.addr()).await;
    let value = site.claim(SHOP, "john/web/app").await;
    knot.set_txt(ZONE, &format!("_podgate-verify.{SHOP}"), &value).await;
    site.shown(SHOP).await;
    until("a certificate", async || site.secure(&client, SHOP, "/").await).await;

    let pods = site.api.ok(Method::GET, "pods", json!(null)).await;
    let pod = pods["items"][0]["id"].as_str().expect("an id").to_owned();
    let service = format!("pods/{pod}/services/app");
    site.api.ok(Method::DELETE, &service, json!(null)).await;
    until("no way there", async || (site.plain(SHOP).await == 404).then_some(())).await;
    until("no certificate", async || {
        site.secure(&client, SHOP, "/").await.is_none().then_some(())
    })
    .await;

    // Another service of that name has to show it anew, and by another value.
    site.service("app", origin.addr()).await;
    assert_eq!(site.plain(SHOP).await, 404);
    let anew = site.claim(SHOP, "john/web/app").await;
    assert_ne!(anew, value);
    site.problem(SHOP, &format!("says `{value}`")).await;
    assert_eq!(site.plain(SHOP).await, 404);
}

#[tokio::test]
async fn the_status_says_what_is_wrong_with_dns() {
    let knot = Knot::serving_beside(ZONE, "broken.test").await;
    let origin = origin::http1().route("/", "hello").run().await;
    let site = site(&knot, origin.addr(), "").await;
    site.service("app", origin.addr()).await;
    for (name, problem) in [
        ("a.example.test", "no TXT record at _podgate-verify.a.example.test"),
        ("a.broken.test", "answered: Server Failure"),
        ("a.elsewhere.org", "answered: Query Refused"),
    ] {
        site.claim(name, "john/web/app").await;
        site.problem(name, problem).await;
        assert_eq!(site.plain(name).await, 404, "{name}");
    }
    // Somebody else's records, and one in two pieces that together are the value.
    let value = site.claim("b.example.test", "john/web/app").await;
    let record = "_podgate-verify.b.example.test";
    let others = ["v=spf1 -all", &value[..31], &value.to_uppercase()].map(|it| format!("\"{it}\""));
    knot.put_txt(ZONE, record, &others).await;
    site.problem("b.example.test", "`v=spf1 -all`").await;
    let pieces = format!("\"{}\" \"{}\"", &value[..5], &value[5..]);
    knot.put_txt(ZONE, record, &[pieces]).await;
    site.shown("b.example.test").await;
    until("a way there", async || {
        (site.plain("b.example.test").await == 308).then_some(())
    })
    .await;

    // One that says nothing at all.
    knot.process.signal(Signal::STOP);
    site.problem(
        "a.example.test",
        &format!("no answer from the resolver {}", knot.address),
    )
    .await;
    assert_eq!(site.plain("b.example.test").await, 308, "what was shown stays so");
    knot.process.signal(Signal::CONT);
    site.problem("a.example.test", "no TXT record").await;
}

#[tokio::test]
async fn a_certificate_is_had_in_the_handshake_where_that_is_the_way() {
    let knot = Knot::serving(ZONE).await;
    let origin = origin::http1().route("/", "hello").run().await;
    let site = site(&knot, origin.addr(), "custom_challenge = \"tls-alpn-01\"").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    site.service("app", origin.addr()).await;
    let value = site.claim(SHOP, "john/web/app").await;
    knot.set_txt(ZONE, &format!("_podgate-verify.{SHOP}"), &value).await;
    site.shown(SHOP).await;
    until("a certificate", async || site.secure(&client, SHOP, "/").await).await;
}

#[tokio::test]
async fn orders_of_a_users_names_are_counted() {
    let knot = Knot::serving(ZONE).await;
    let origin = origin::http1().route("/", "hello").run().await;
    let site = site(&knot, origin.addr(), "per_user = 1\ndomains_per_user = 2").await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let label = site.service("app", origin.addr()).await;
    let mut shown = Vec::new();
    for name in ["a.example.test", "b.example.test"] {
        let value = site.claim(name, "john/web/app").await;
        knot.set_txt(ZONE, &format!("_podgate-verify.{name}"), &value).await;
        site.shown(name).await;
        shown.push(name);
        if shown.len() == 1 {
            until("a certificate", async || site.secure(&client, name, "/").await).await;
        }
    }
    let third = json!({"name": "c.example.test", "service": "john/web/app"});
    let third = site.api.call(Method::POST, "certificates", third).await;
    assert_eq!(third.status(), 409);
    assert!(third.body().contains("john has 2 domains already"), "{}", third.body());
    // The second waits for its user's turn; it leads to the service all the same.
    let held = until("the limit", async || {
        let it = site
            .api
            .ok(Method::GET, "certificates/b.example.test", json!(null))
            .await;
        it["problem"].is_string().then_some(it)
    })
    .await;
    assert!(held["problem"].as_str().expect("text").contains("per_user"), "{held}");
    assert_eq!(site.plain("b.example.test").await, 308);
    assert!(site.secure(&client, "b.example.test", "/").await.is_none());
    until("the platform's own", async || site.secure(&client, &label, "/").await).await;
}
