//! TLS at the door: which certificate, which protocol, and where plain HTTP leads.

use integration::client::{Door, Request};
use integration::edge::{self, DOMAIN, host};
use integration::origin;
use integration::process::Program;
use integration::tls::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use integration::rustls;

const LABEL: &str = "app-pod-john";

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let origin = origin::http1().route("/", "hello").run().await;
    let other = Authority::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let exact = other.issue(&["special.test"], dir.path(), "special");
    let entry = toml::Table::from_iter([
        ("cert".to_owned(), exact.cert.display().to_string().into()),
        ("key".to_owned(), exact.key.display().to_string().into()),
    ]);
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("tls.certificates", vec![toml::Value::Table(entry)])
        .https()
        .podgate()
        .await;
    let address = edge.https.expect("HTTPS");
    let ours = edge.authority.as_ref().expect("an authority");
    let connects = async |authority: &Authority, name: &str| {
        let stream = TcpStream::connect(address).await.expect("connect");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(authority.client(&[]))
            .connect(name, stream)
            .await
            .is_ok()
    };
    assert!(connects(ours, &host(LABEL)).await);
    assert!(connects(ours, DOMAIN).await);
    assert!(connects(&other, "special.test").await);
    // Each is only for its own names.
    assert!(!connects(&other, &host(LABEL)).await);
    assert!(!connects(ours, "special.test").await);
    assert!(!connects(ours, "a.b.podgate.localhost").await);
}

#[tokio::test]
async fn the_protocol_is_the_one_both_speak() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    for (offer, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let Door { address, tls } = edge.tls(offer);
        let stream = TcpStream::connect(address).await.expect("connect");
        let name = ServerName::try_from(host(LABEL)).expect("a name");
        let tls = TlsConnector::from(tls.expect("TLS"))
            .connect(name, stream)
            .await
            .expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), agreed, "{offer:?}");
    }
    assert_eq!(edge.get(LABEL, "/").await.body(), "hello");
    assert_eq!(edge.request_h2(LABEL, "/").send().await.body(), "hello");
}

#[tokio::test]
async fn only_tls_1_2_and_1_3_are_spoken() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let address = edge.https.expect("HTTPS").to_string();
    let speaks = async |version: &str| {
        let output = Program::find("openssl", "openssl (Debian)")
            .args(["s_client", "-connect", &address, "-servername", &host(LABEL), version])
            .args(["-cipher", "ALL:@SECLEVEL=0"])
            .finish()
            .await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.contains("BEGIN CERTIFICATE")
    };
    assert!(speaks("-tls1_2").await);
    assert!(speaks("-tls1_3").await);
    assert!(!speaks("-tls1_1").await);
    assert!(!speaks("-tls1").await);
}

#[tokio::test]
async fn plain_http_leads_to_https_and_nowhere_else() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let port = edge.https.expect("HTTPS").port();
    let plain = |host: &str, path: &str| Request::get(&edge.http, host, path);
    let sent = plain(&host(LABEL), "/deep/er?x=1&y=%20").send().await;
    assert!([301, 308].contains(&sent.status()), "{sent:?}");
    assert_eq!(
        sent.header("location"),
        Some(format!("https://{}:{port}/deep/er?x=1&y=%20", host(LABEL)).as_str())
    );
    // A form must arrive as a form.
    let posted = plain(&host(LABEL), "/form").post("a=1").send().await;
    assert!([307, 308].contains(&posted.status()), "{posted:?}");
    // Not a way to any other host.
    for foreign in ["evil.test", "evil.test:80", "podgate.localhost.evil.test"] {
        let answer = plain(foreign, "//evil.test/").send().await;
        let location = answer.header("location").unwrap_or_default();
        assert!(!location.contains("evil.test"), "{answer:?}");
    }
    let tricky = plain(&host(LABEL), "//evil.test/%5c..").send().await;
    let location = tricky.header("location").expect("a location");
    assert!(
        location.starts_with(&format!("https://{}:{port}//evil.test/", host(LABEL))),
        "{location}"
    );
    assert!(origin.seen().is_empty());
    assert_eq!(edge.websocket(LABEL, "/ws", &[]).await.err(), None, "and HTTPS serves");
}

#[tokio::test]
async fn a_reload_brings_a_new_certificate_to_new_connections_only() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let request = edge.request(LABEL, "/");
    let mut open = request.open().await.expect("a connection");
    assert_eq!(open.send(&request).await.expect("an answer").body(), "hello");

    let new = Authority::new();
    let home = edge.config().parent().expect("a directory").to_owned();
    new.issue(&[&format!("*.{DOMAIN}"), DOMAIN], &home, "wildcard");
    assert!(edge.command("reload").await.status.success());
    assert_eq!(
        open.send(&request).await.expect("the old connection goes on").body(),
        "hello"
    );
    assert!(
        edge.request(LABEL, "/").try_send().await.is_err(),
        "the old authority no longer vouches"
    );
    let door = Door {
        address: edge.https.expect("HTTPS"),
        tls: Some(new.client(&[b"http/1.1"])),
    };
    assert_eq!(Request::get(&door, &host(LABEL), "/").send().await.body(), "hello");
    let expiry = edge
        .metric(
            "podgate_certificate_expiry_timestamp_seconds",
            &[&format!("*.{DOMAIN}")],
        )
        .await;
    assert!(
        expiry.is_some_and(|expiry| expiry > integration::token::unix_now() as f64),
        "{expiry:?}"
    );
}

#[tokio::test]
async fn a_session_is_resumed() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let door = edge.tls(&[b"http/1.1"]);
    let config = door.tls.clone().expect("TLS");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(door.address).await.expect("connect");
        let name = ServerName::try_from(host(LABEL)).expect("a name");
        let mut tls = TlsConnector::from(Arc::clone(&config))
            .connect(name, stream)
            .await
            .expect("a handshake");
        // The ticket comes with the first data.
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let ask = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(LABEL));
        tls.write_all(ask.as_bytes()).await.expect("send");
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).await.ok();
        kinds.push(tls.get_ref().1.handshake_kind());
    }
    assert_eq!(kinds[1], Some(rustls::HandshakeKind::Resumed), "{kinds:?}");
}

/// The key that two edges open certificates by, and tickets.
fn sealing_keys(key: &str) -> Vec<toml::Value> {
    let entry = toml::Table::from_iter([("id".to_owned(), 1.into()), ("key".to_owned(), key.into())]);
    vec![toml::Value::Table(entry)]
}

/// Shakes hands with the edge, reads an answer, and says how.
async fn shake(edge: &edge::Access, client: &Arc<rustls::ClientConfig>) -> Option<rustls::HandshakeKind> {
    let door = Door {
        address: edge.https.expect("HTTPS"),
        tls: None,
    };
    let stream = TcpStream::connect(door.address).await.expect("connect");
    let name = ServerName::try_from(host(LABEL)).expect("a name");
    let mut stream = TlsConnector::from(Arc::clone(client))
        .connect(name, stream)
        .await
        .ok()?;
    // With TLS 1.3 tickets, and refusals, come after the client is done.
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(LABEL));
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
    stream.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn a_session_goes_on_at_another_edge_that_has_the_same_keys() {
    let origin = origin::http1().route("/", "hello").run().await;
    let start = async |key: char| {
        edge::with_routes([(LABEL, origin.addr())])
            .set("tls.sealing_keys", sealing_keys(&key.to_string().repeat(64)))
            .https()
            .podgate()
            .await
    };
    let (one, other, stranger) = (start('a').await, start('a').await, start('b').await);
    // It trusts the first alone: at the others only a session that goes on is any good.
    let client = one.tls(&[b"http/1.1"]).tls.expect("TLS");
    assert_eq!(shake(&one, &client).await, Some(rustls::HandshakeKind::Full));
    assert_eq!(shake(&one, &client).await, Some(rustls::HandshakeKind::Resumed));
    assert_eq!(shake(&other, &client).await, Some(rustls::HandshakeKind::Resumed));
    assert_eq!(shake(&stranger, &client).await, None);
}

#[tokio::test]
async fn clients_show_a_certificate_where_one_is_asked_for_and_no_session_goes_around_it() {
    let origin = origin::http1().route("/", "hello").run().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [theirs, others] = [Authority::new(), Authority::new()];
    let path = dir.path().join("clients.pem");
    std::fs::write(&path, theirs.pem()).expect("write the authority");
    let mut edge = edge::with_routes([(LABEL, origin.addr())]).https().podgate().await;
    let authority = Arc::clone(edge.authority.as_ref().expect("an authority"));
    let client = |shows: Option<&Authority>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match shows {
            None => config.with_no_client_auth(),
            Some(from) => {
                let shown = from.issue(&["client.test"], dir.path(), "client");
                let chain = CertificateDer::from_pem_file(&shown.cert).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(&shown.key).expect("PEM");
                config.with_client_auth_cert(vec![chain], key).expect("a certificate")
            }
        })
    };
    let none = client(None);
    assert!(shake(&edge, &none).await.is_some());

    let section = format!("[tls]\nclient_ca = \"{}\"\n", path.display());
    edge.edit_config(|text| {
        text.replacen("[tls]\n", &section, 1).replacen(
            "[[tls.certificates]]",
            &format!("{section}[[tls.certificates]]"),
            usize::from(!text.contains("[tls]\n")),
        )
    });
    let reloaded = edge.command("reload").await;
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(shake(&edge, &none).await, None, "it has a ticket, and no certificate");
    assert_eq!(shake(&edge, &client(None)).await, None);
    assert_eq!(shake(&edge, &client(Some(&others))).await, None);
    assert!(shake(&edge, &client(Some(&theirs))).await.is_some());
    assert!(edge.process().is_running());
}

#[tokio::test]
async fn tls_1_2_can_be_left_out() {
    let origin = origin::http1().route("/", "hello").run().await;
    let edge = edge::with_routes([(LABEL, origin.addr())])
        .set("tls.min_version", "1.3")
        .https()
        .podgate()
        .await;
    let address = edge.https.expect("HTTPS");
    let speaks = async |version: &str| {
        let client = Program::find("openssl", "openssl (Debian)")
            .args(["s_client", "-connect", &address.to_string(), version])
            .finish()
            .await;
        client.status.success()
    };
    assert!(speaks("-tls1_3").await);
    assert!(!speaks("-tls1_2").await);
}
