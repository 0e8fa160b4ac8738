//! What testssl and sslyze find of the edge, with a certificate that podgate has had issued.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use integration::origin;
use integration::process::Program;
use integration::process::knot::{Knot, SECRET};
use integration::wait::until;

use crate::site::Site;

const QUARTER: u32 = 90 * 24 * 3600;

/// What it minds and what is meant, each with why.
const MEANT: [(&str, &str); 6] = [
    // Of suites that are all strong, the client knows which its machine is quick at.
    ("cipher_order", "NOT a cipher order configured"),
    // What pebble puts in certificates is its own affair.
    ("cert_revocation", "Neither CRL nor OCSP URI provided"),
    // Nor does the edge speak for the app about what is in its pages.
    ("security_headers", "--"),
    // Now and then it hangs up before a ticket of TLS 1.3 has come, and tries to go on without.
    ("sessionresumption_ticket", "check failed because of connect problem"),
    // Of Debian's OpenSSL, not of the edge; `cipherlist_LOW` has looked for RC4 without it.
    ("RC4", "RC4 ciphers not supported by local OpenSSL"),
    ("engine_problem", "No engine or GOST support"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_no_old_protocol_no_weak_cipher_and_no_hole() {
    let origin = origin::http1().route("/", "hello").run().await;
    let knot = Knot::serving("pods.test").await;
    let sections = format!(
        "{}[limits]\npublic = \"unlimited\"\n[tls]\nhsts = \"180d\"\n",
        knot.section(SECRET)
    );
    let site = Site::on_zone(&knot, origin.addr(), QUARTER, &sections).await;
    let client = site.pebble.client(&[b"http/1.1"]).await;
    let host = site.service("app", origin.addr()).await;
    until("a certificate", async || site.secure(&client, &host, "/").await).await;

    let home = tempfile::tempdir().expect("a temporary directory");
    let root = home.path().join("root.pem");
    std::fs::write(&root, site.pebble.root().await).expect("write the root");
    // Most of its time it waits for answers that do not come.
    let parts = [&["-p", "-s", "-f"][..], &["-S", "-P", "-h"], &["-U"]];
    let looks = parts.iter().enumerate().map(|(nth, checks)| {
        let report = home.path().join(format!("{nth}.json"));
        let program = Program::find("testssl", "testssl.sh (Debian)")
            .args(["--quiet", "--warnings", "off", "--color", "0", "--fast"])
            .args(["--nodns", "none", "--ip", "127.0.0.1", "--add-ca"])
            .arg(&root)
            .arg("--jsonfile")
            .arg(&report)
            .args(*checks)
            .arg(format!("https://{host}:{}/", site.https.port()));
        async move {
            let output = program.finish().await;
            let text = std::fs::read_to_string(&report).unwrap_or_default();
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let all: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {printed}"));
            all.as_array().cloned().expect("a list")
        }
    });
    let findings: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
    let text = |it: &serde_json::Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let minds = |it: &&serde_json::Value| !["OK", "INFO"].contains(&it["severity"].as_str().unwrap_or_default());
    let is_meant = |it: &serde_json::Value| {
        let mut meant = MEANT.iter();
        meant.any(|(id, start)| it["id"] == *id && text(it, "finding").starts_with(start))
    };
    let bad: Vec<_> = findings.iter().filter(minds).filter(|it| !is_meant(it)).collect();
    assert!(bad.is_empty(), "{bad:#?}");

    // It has looked at all of this, and found that.
    let found: BTreeMap<String, String> = findings
        .iter()
        .map(|it| (text(it, "id"), text(it, "finding")))
        .collect();
    for (id, start) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered"),
        ("ALPN_HTTP2", "h2"),
        ("cipherlist_NULL", "not offered"),
        ("cipherlist_aNULL", "not offered"),
        ("cipherlist_EXPORT", "not offered"),
        ("cipherlist_LOW", "not offered"),
        ("cipherlist_3DES_IDEA", "not offered"),
        ("cipherlist_AVERAGE", "not offered"),
        ("cipherlist_STRONG", "offered"),
        ("PFS", "offered"),
        ("cert_chain_of_trust", "passed"),
        ("cert_trust", "Ok via SAN"),
        ("HSTS_time", "180 days"),
        ("heartbleed", "not vulnerable"),
        ("CCS", "not vulnerable"),
        ("ticketbleed", "not vulnerable"),
        ("ROBOT", "not vulnerable"),
        ("secure_renego", "supported"),
        ("CRIME_TLS", "not vulnerable"),
        ("POODLE_SSL", "not vulnerable"),
        ("SWEET32", "not vulnerable"),
        ("FREAK", "not vulnerable"),
        ("DROWN", "not vulnerable"),
        ("LOGJAM", "not vulnerable"),
        ("BEAST", "not vulnerable"),
        ("LUCKY13", "not vulnerable"),
    ] {
        let finding = found
            .get(id)
            .unwrap_or_else(|| panic!("{id} was not looked at: {found:#?}"));
        assert!(finding.starts_with(start), "{id}: {finding}");
    }

    // Debian's testssl gives no grade; sslyze says whether all is as Mozilla has it for servers
    // on the public Internet (wiki.mozilla.org/Security/Server_Side_TLS).
    let looked = Program::find("sslyze", "it with `.ci/tools test`")
        .args(["--mozilla_config", "intermediate", "--certinfo_ca_file"])
        .arg(&root)
        .args(["--sni", &host, &site.https.to_string()])
        .finish()
        .await;
    let told = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.success() && told.contains("OK - Compliant"), "{told}");
}
