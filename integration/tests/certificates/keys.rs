//! The keys that seal others change, and nothing is lost.

use integration::origin;
use integration::wait::until;

use crate::site::Site;

const HOUR: u32 = 3600;
const FIRST: &str = "[[tls.sealing_keys]]\nid = 1\nkey = \"env:FIRST_KEY\"\n";
const SECOND: &str = "[[tls.sealing_keys]]\nid = 2\nkey = \"env:SECOND_KEY\"\n";

fn keys(text: &str) -> String {
    let (first, second) = ("11".repeat(32), "22".repeat(32));
    text.replace("env:FIRST_KEY", &first).replace("env:SECOND_KEY", &second)
}

/// Starts podgate again with other sealing keys than it had.
async fn with(site: &mut Site, from: &str, to: &str) {
    let path = site.home.path().join("podgate.toml");
    let text = std::fs::read_to_string(&path).expect("the config");
    assert!(text.contains(&keys(from)), "{text}");
    std::fs::write(&path, text.replace(&keys(from), &keys(to))).expect("write the config");
    site.die().await;
}

#[tokio::test]
async fn a_new_key_takes_over_and_the_old_one_can_go() {
    let origin = origin::http1().route("/", "hello").run().await;
    let section = format!("challenge = \"http-01\"\n{}", keys(FIRST));
    let mut site = Site::start(origin.addr(), HOUR, &section).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    until("a certificate", async || site.secure(&client, &host, "/").await).await;
    let leaf = site.leaf(&client, &host).await;

    with(&mut site, FIRST, &format!("{FIRST}{SECOND}")).await;
    let said = site.command(&["keys", "rotate"]).await;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    // The certificate's and the account's.
    assert!(said.contains("2 wrapped anew; all are by key 2"), "{said}");
    let said = site.command(&["keys", "rotate"]).await;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.contains("0 wrapped anew"), "{said}");

    with(&mut site, &format!("{FIRST}{SECOND}"), SECOND).await;
    until("the certificate", async || site.secure(&client, &host, "/").await).await;
    assert_eq!(site.leaf(&client, &host).await, leaf, "the same one");

    // Without the key that wraps them nothing is rewrapped, and it is said which is missing.
    let third = SECOND.replace("id = 2", "id = 3").replace("SECOND", "FIRST");
    with(&mut site, SECOND, &third).await;
    let said = site.command(&["keys", "rotate"]).await;
    assert!(!said.status.success());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("key 2"), "{said}");
}
