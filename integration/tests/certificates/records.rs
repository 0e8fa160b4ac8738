//! Services' records, in real zones that take signed updates.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::Method;
use integration::process::bind::Bind;
use integration::process::free_address;
use integration::process::knot::{KEY, Knot, SECRET, transfer};
use integration::wait::until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::site::{DOMAIN, Podgate};

const TARGET: &str = "edge.nodes.test";

async fn keeping(server: SocketAddr, more: &str) -> Podgate {
    let section = format!(
        "[dns]\nprovider = \"rfc2136\"\nserver = \"{server}\"\nkey_name = \"{KEY}\"\nkey = \"{SECRET}\"\n{more}"
    );
    let listen = [free_address(), free_address(), free_address()];
    let edge = format!("dns_target = \"{TARGET}\"");
    Podgate::start(listen, listen[0], &edge, &section).await
}

/// What a zone holds besides what it held at first: CNAMEs and marks.
async fn held(server: SocketAddr) -> BTreeSet<(String, String)> {
    let all = transfer(server, DOMAIN).await;
    let ours = all.into_iter().filter(|(_, kind, _)| kind == "CNAME" || kind == "TXT");
    ours.map(|(name, _, data)| (name, data)).collect()
}

async fn expected(podgate: &Podgate) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for pod in podgate.api.ok(Method::GET, "pods", json!(null)).await["items"]
        .as_array()
        .expect("pods")
    {
        let path = format!("pods/{}/services?limit=200", pod["id"].as_str().expect("an id"));
        let services = podgate.api.ok(Method::GET, &path, json!(null)).await;
        for service in services["items"].as_array().expect("services") {
            let host = service["host"].as_str().expect("a host");
            all.insert((format!("{host}."), format!("{TARGET}.")));
            all.insert((format!("_podgate.{host}."), "\"managed by podgate\"".to_owned()));
        }
    }
    all
}

/// 500 changes of the table, podgate killed every now and then, and the zone is as the table.
async fn follows_through_crashes(server: SocketAddr, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut podgate = keeping(server, "").await;
    podgate.api.call(Method::POST, "users", json!({"name": "john"})).await;
    let mut pods = Vec::new();
    for name in ["one", "two"] {
        let pod = podgate
            .api
            .ok(Method::POST, "pods", json!({"name": name, "owner": "john"}))
            .await;
        pods.push(format!("pods/{}", pod["id"].as_str().expect("an id")));
    }
    let service = |name: u32| json!({"name": format!("s{name}"), "port": 80, "visibility": "private", "targets": [server.to_string()]});
    let mut changed = 0;
    while changed < 500 {
        let services = format!("{}/services", pods[random.random_range(0..pods.len())]);
        let name = random.random_range(0..40);
        let one = format!("{services}/s{name}");
        let done = match random.random_range(0..10) {
            0..5 => podgate.api.call(Method::POST, &services, service(name)).await,
            5..8 => podgate.api.call(Method::DELETE, &one, Value::Null).await,
            // Another name: nothing has two at a time.
            _ => {
                podgate.api.call(Method::DELETE, &one, Value::Null).await;
                podgate
                    .api
                    .call(Method::POST, &services, service((name + 1) % 40))
                    .await
            }
        };
        assert!([201, 204, 404, 409].contains(&done.status()), "{}", done.body());
        changed += usize::from((200..300).contains(&done.status()));
        if random.random_bool(0.04) {
            podgate.die().await;
        }
    }
    let wanted = expected(&podgate).await;
    assert!(wanted.len() > 10, "{wanted:?}");
    until("the zone as the table", async || {
        let held = held(server).await;
        (held == wanted).then_some(())
    })
    .await;
    let kept = transfer(server, DOMAIN).await;
    assert!(
        kept.iter()
            .any(|(name, kind, _)| kind == "A" && name.starts_with("ns."))
    );
}

#[tokio::test]
async fn knot_holds_what_the_table_holds() {
    let knot = Knot::serving(DOMAIN).await;
    follows_through_crashes(knot.address, 1).await;
}

#[tokio::test]
async fn bind_holds_what_the_table_holds() {
    let bind = Bind::serving(DOMAIN).await;
    follows_through_crashes(bind.address, 2).await;
}

#[tokio::test]
async fn what_others_put_there_stays_and_is_told() {
    let knot = Knot::serving(DOMAIN).await;
    let podgate = keeping(knot.address, "").await;
    let host = podgate.service("app", knot.address).await;
    until("a record", async || (held(knot.address).await.len() == 2).then_some(())).await;
    // Somebody's service of that name will be refused its record: `ns` is the zone's.
    let provider = dns::Rfc2136::new(
        knot.address,
        DOMAIN.parse().expect("a name"),
        KEY.parse().expect("a name"),
        b"secret-of-a-test-32-octets-long!".to_vec().into(),
        dns::TsigAlgorithm::HmacSha256,
    )
    .expect("a provider");
    let taken = host.replace("app", "theirs");
    provider.put_txt(&taken, "theirs").await.expect("a record");
    podgate.service("theirs", knot.address).await;
    let said = until("a plan", async || {
        let out = podgate.command(&["dns", "plan"]).await;
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        told.contains(&taken).then_some(told)
    })
    .await;
    let expected = format!("{taken}: has records that are not podgate's; left alone\n0 to change, 1 as they shall be");
    assert!(said.contains(&expected), "{said}");
    let held = held(knot.address).await;
    assert!(
        held.contains(&(format!("{taken}."), "\"theirs\"".to_owned())),
        "{held:?}"
    );
    assert_eq!(held.len(), 3);
}

#[tokio::test]
async fn one_wildcard_record_is_for_all_services() {
    let knot = Knot::serving(DOMAIN).await;
    let podgate = keeping(knot.address, "records = \"wildcard\"\n").await;
    podgate.service("app", knot.address).await;
    until("the record", async || {
        let held = held(knot.address).await;
        held.contains(&(format!("*.{DOMAIN}."), format!("{TARGET}.")))
            .then_some(())
    })
    .await;
    let out = podgate.command(&["dns", "plan"]).await;
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("0 to change, 1 as they shall be"), "{told}");
}

/// A server that is away is said to be, and what was missed is made up for when it is back.
#[tokio::test]
async fn a_server_that_is_away_is_told_of() {
    let nobody = free_address();
    let podgate = keeping(nobody, "").await;
    podgate.service("app", nobody).await;
    let out = podgate.command(&["dns", "apply"]).await;
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success());
    assert!(told.contains(&format!("{nobody} does not answer: ")), "{told}");
}
