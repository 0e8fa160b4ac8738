//! Cloudflare, by a fake of its API: what is sent is compared with what Cloudflare's own library
//! sends for the same calls, octet by octet.

use std::path::PathBuf;

use integration::process::{Process, Program, free_address};
use integration::wait::until;
use serde_json::Value;

use crate::site::{DOMAIN, Podgate};

const FAKE: &str = include_str!("cloudflare.py");

struct Fake {
    _process: Process,
    home: PathBuf,
    api: String,
}

impl Fake {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (home, address) = (dir.path().to_owned(), free_address());
        std::fs::write(home.join("fake.py"), FAKE).expect("write the fake");
        let mut process = python()
            .arg(home.join("fake.py"))
            .args(["serve", &address.port().to_string(), DOMAIN])
            .arg(&home)
            .start_in(dir);
        process.listening(address).await;
        Self {
            _process: process,
            home,
            api: format!("http://{address}"),
        }
    }

    /// What was asked of it: method, path, body, and headers that matter.
    fn asked(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.home.join("asked")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line"));
        lines.collect()
    }

    /// What it holds.
    fn held(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.home.join("held")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// How it behaves from now on.
    fn behave(&self, how: &str) {
        std::fs::write(self.home.join("behave"), how).expect("write");
    }

    /// The same calls, by Cloudflare's library.
    async fn library(&self, calls: &str) {
        let done = python()
            .arg(self.home.join("fake.py"))
            .args(["calls", &self.api, calls])
            .finish()
            .await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    async fn podgate(&self) -> Podgate {
        let listen = [free_address(), free_address(), free_address()];
        let section = format!(
            "[dns]\nprovider = \"cloudflare\"\napi = \"{}\"\ntoken = \"tok\"\n",
            self.api
        );
        Podgate::start(listen, listen[0], "dns_target = \"edge.nodes.test\"", &section).await
    }
}

fn python() -> Program {
    Program::find("python-with-cloudflare", "cloudflare (PyPI)")
}

#[tokio::test]
async fn requests_are_those_of_their_own_library() {
    let fake = Fake::start().await;
    fake.behave("503");
    let podgate = fake.podgate().await;
    let nobody = free_address();
    let first = podgate.service("a", nobody).await;
    podgate.service("b", nobody).await;
    podgate.service("c", nobody).await;
    until("a try", async || (!fake.asked().is_empty()).then_some(())).await;
    fake.behave("");
    std::fs::remove_file(fake.home.join("asked")).expect("forget");
    // All of them at once, as it answers again; then one that goes, one that comes, one that
    // somebody changed.
    until("three records", async || (fake.held().len() == 4).then_some(())).await;
    let pods = podgate.api.ok(http::Method::GET, "pods", Value::Null).await;
    let pod = format!("pods/{}/services", pods["items"][0]["id"].as_str().expect("an id"));
    podgate
        .api
        .call(http::Method::DELETE, &format!("{pod}/b"), Value::Null)
        .await;
    until("two records", async || (fake.held().len() == 3).then_some(())).await;
    podgate.service("d", nobody).await;
    until("three records", async || (fake.held().len() == 4).then_some(())).await;
    fake.behave(&format!("spoil {first}"));
    let out = podgate.command(&["dns", "apply"]).await;
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("1 changed, 2 as they shall be"), "{told}");
    let ours = fake.asked();

    let provider = dns::Provider::Cloudflare(Box::new(
        dns::Cloudflare::new(&fake.api, DOMAIN, "tok".to_owned().into()).expect("a provider"),
    ));
    let name = format!("_acme-challenge.{DOMAIN}");
    provider.put_txt(&name, "abc").await.expect("a record");
    provider.put_txt(&name, "abc").await.expect("is there");
    provider.remove_txt(&name, "abc").await.expect("gone");
    provider.remove_txt(&name, "abc").await.expect("was gone");
    let challenge = fake.asked().split_off(ours.len());

    let theirs = Fake::start().await;
    theirs.library("services").await;
    assert_eq!(ours, theirs.asked());
    std::fs::remove_file(theirs.home.join("asked")).expect("forget");
    theirs.library("challenge").await;
    assert_eq!(challenge, theirs.asked());
    // The record of somebody else's stayed through all of it.
    let kept = |it: &Value| it["name"] == format!("mail.{DOMAIN}");
    assert!(fake.held().iter().any(kept));
}

#[tokio::test]
async fn what_it_answers_in_trouble_is_told_and_outlived() {
    let fake = Fake::start().await;
    let podgate = fake.podgate().await;
    podgate.service("a", free_address()).await;
    until("a record", async || (fake.held().len() == 2).then_some(())).await;
    for (how, said) in [
        ("403", "does not take the token: Authentication error (10000)"),
        ("429", "wants to be left alone for 7 s: Rate limited. (10013)"),
        ("503", "wants to be left alone: Service Unavailable (0)"),
        ("html", "does not answer: an answer that is not theirs"),
        ("no zone", "no zone pods.test for this token"),
        ("refuse", "DNS Validation Error (9007)"),
    ] {
        fake.behave(how);
        podgate
            .api
            .call(http::Method::POST, "users", serde_json::json!({"name": "john"}))
            .await;
        let fresh = fake.podgate().await;
        fresh.service("x", free_address()).await;
        let out = fresh.command(&["dns", "apply"]).await;
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(!out.status.success(), "{how}");
        assert!(told.contains(said), "{how}: {told}");
    }
}
