//! Where podgate is, and which token opens it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use integration::edge;
use integration::process::{Process, Program, free_address};
use integration::tls::Authority;
use integration::world::World;

use super::{Said, Site, TOKEN, client};

async fn said(program: Program) -> Said {
    Said::of(&[], program.finish().await)
}

#[tokio::test]
async fn a_token_comes_from_the_environment_or_a_file() {
    let site = Site::start().await;
    let list = || client(&["user", "list"]).env("PODGATE_URL", site.url());
    let nowhere = tempfile::tempdir().expect("a directory");

    said(list().env("PODGATE_TOKEN", TOKEN)).await.good();
    let file = site.file("secret", &format!("{TOKEN}\n"));
    said(list().env("PODGATE_TOKEN_FILE", &file)).await.good();

    let none = said(list().dir(nowhere.path())).await.failed(2);
    assert!(
        none.contains("no token for") && none.contains("PODGATE_TOKEN"),
        "{none}"
    );
    let wrong = said(list().env("PODGATE_TOKEN", "something else")).await.failed(2);
    assert!(
        wrong.contains("PODGATE_TOKEN holds is not a token") && !wrong.contains("else\n"),
        "{wrong}"
    );
    let wrong = said(list().env("PODGATE_TOKEN", "something-else")).await.failed(1);
    assert!(
        wrong.contains("that of PODGATE_TOKEN") && wrong.contains("control.admin_token"),
        "{wrong}"
    );
    let missing = said(list().env("PODGATE_TOKEN_FILE", "/nowhere/at/all"))
        .await
        .failed(1);
    assert!(missing.contains("/nowhere/at/all"), "{missing}");
}

#[tokio::test]
async fn the_token_in_the_state_directory_is_for_this_machine_only() {
    let site = Site::start().await;
    let state = tempfile::tempdir().expect("a directory");
    std::fs::write(state.path().join("admin.token"), format!("{TOKEN}\n")).expect("write the token");
    let list = |url: &str| client(&["user", "list"]).dir(state.path()).env("PODGATE_URL", url);
    said(list(&site.url())).await.good();
    let far = said(list("https://gate.example:9091")).await.failed(2);
    assert!(far.contains("no token for https://gate.example:9091"), "{far}");
}

#[tokio::test]
async fn nobody_there() {
    let address = free_address();
    let url = format!("http://{address}");
    let list = client(&["user", "list"]).env("PODGATE_TOKEN", TOKEN);
    let none = said(list.env("PODGATE_URL", &url)).await.failed(1);
    let first = format!("podgate: cannot connect to {url}: Connection refused");
    assert!(
        none.starts_with(&first) && none.contains("is podgate running"),
        "{none}"
    );
    let list = client(&["user", "list", "--url", "unix:/nowhere/api.sock"]).env("PODGATE_TOKEN", TOKEN);
    let none = said(list).await.failed(1);
    assert!(none.contains("unix:/nowhere/api.sock"), "{none}");
}

#[tokio::test]
async fn somebody_else_there() {
    let site = Site::start().await;
    let edge = site.podgate.http.address;
    let list = client(&["user", "list"]).env("PODGATE_TOKEN", TOKEN);
    let other = said(list.env("PODGATE_URL", format!("http://{edge}"))).await;
    assert_eq!(other.code, Some(1), "{other:?}");
}

/// nginx before an API, by TLS and by a socket, which ends a connection after a few
/// requests.
struct Front {
    process: Process,
    https: SocketAddr,
}

impl Front {
    async fn start(api: SocketAddr, authority: &Authority) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().display().to_string();
        let certificate = authority.issue(&["127.0.0.1"], home.path(), "front");
        let https = free_address();
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {dir}/pid; error_log stderr warn; events {{}}\n\
             http {{ access_log off; keepalive_requests 7;\n\
             client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
             uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
             server {{ listen {https} ssl; listen unix:{dir}/api.sock;\n\
             ssl_certificate {}; ssl_certificate_key {}; location / {{ proxy_pass http://{api}; }} }} }}\n",
            certificate.cert.display(),
            certificate.key.display(),
        );
        std::fs::write(home.path().join("nginx.conf"), config).expect("write the config");
        std::fs::write(home.path().join("ca.pem"), authority.pem()).expect("write the authority");
        let mut process = Program::find("nginx", "nginx (Debian)")
            .args(["-e", "stderr", "-c", &format!("{dir}/nginx.conf")])
            .start_in(home);
        process.listening(https).await;
        Self { process, https }
    }

    fn path(&self, name: &str) -> String {
        self.process.home().join(name).display().to_string()
    }
}

#[tokio::test]
async fn by_tls_and_by_a_socket() {
    let site = Site::start().await;
    let front = Front::start(site.api, &Authority::new()).await;
    let https = format!("https://{}", front.https);
    let ca = front.path("ca.pem");
    let ask = |args: &[&str], url: &str| client(args).env("PODGATE_URL", url).env("PODGATE_TOKEN", TOKEN);

    said(ask(&["user", "add", "john", "--ca", &ca], &https)).await.good();
    said(ask(&["pod", "add", "john/p"], &https).env("PODGATE_CA", &ca))
        .await
        .good();
    let socket = format!("unix:{}", front.path("api.sock"));
    said(ask(&["service", "add", "john/p/app", "--port", "80"], &socket))
        .await
        .good();
    // A few hundred requests over connections that the server keeps ending.
    let users: String = (0..300).map(|n| format!("- user-{n}\n")).collect();
    let file = site.file("users.yaml", &format!("users:\n{users}"));
    let told = said(ask(&["apply", "-f", &file, "--ca", &ca], &https)).await.good();
    assert!(
        told.ends_with("created 300, changed 0, removed 0, unchanged 0\n"),
        "{told}"
    );

    let untrusted = said(ask(&["user", "list"], &https)).await.failed(1);
    assert!(
        untrusted.contains("certificate") && untrusted.contains("--ca FILE"),
        "{untrusted}"
    );
    let other = site.file("other.pem", &Authority::new().pem());
    let untrusted = said(ask(&["user", "list", "--ca", &other], &https)).await.failed(1);
    assert!(untrusted.contains("certificate"), "{untrusted}");
    let empty = said(ask(&["user", "list", "--ca", &file], &https)).await.failed(1);
    assert!(empty.contains("holds no certificate"), "{empty}");
}

#[tokio::test]
async fn podgate_listens_on_a_socket_of_its_own() {
    let home = tempfile::tempdir().expect("a directory");
    let socket = home.path().join("api.sock");
    let url = format!("unix:{}", socket.display());
    let mut podgate = edge::with_world(World::new())
        .set("control.listen", url.as_str())
        .set("control.admin_token", TOKEN)
        .podgate()
        .await;
    let ask = |args: &[&str]| client(args).env("PODGATE_URL", &url).env("PODGATE_TOKEN", TOKEN);
    said(ask(&["user", "add", "john"])).await.good();
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "nobody's but its owner's and group's");
    // A socket that a killed podgate left is no hindrance to the next one.
    podgate.restart().await;
    assert_eq!(said(ask(&["user", "list"])).await.good().lines().count(), 2);
    // One that somebody answers at is.
    let config = podgate.config().display().to_string();
    let text = std::fs::read_to_string(&config).expect("read the config");
    let mut other: toml::Table = text.parse().expect("TOML");
    other.remove("edge");
    let store = format!("sqlite:{}", home.path().join("other.db").display());
    other["store"]["url"] = store.into();
    other["store"]["data_dir"] = home.path().display().to_string().into();
    let file = home.path().join("other.toml");
    std::fs::write(&file, other.to_string()).expect("write");
    let told = said(client(&["run", "-c", &file.display().to_string()]))
        .await
        .failed(1);
    assert!(told.contains("listen on control.listen unix:"), "{told}");
    said(ask(&["user", "list"])).await.good();
}

#[tokio::test]
async fn podgate_speaks_tls_where_others_can_connect() {
    let home = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"], home.path(), "api");
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write the authority");
    let address = free_address();
    let mut tls = toml::Table::new();
    tls.insert("cert".into(), certificate.cert.display().to_string().into());
    tls.insert("key".into(), certificate.key.display().to_string().into());
    let _podgate = edge::with_world(World::new())
        .set("control.listen", format!("0.0.0.0:{}", address.port()))
        .set("control.tls", tls)
        .set("control.admin_token", TOKEN)
        .podgate()
        .await;
    let (plain, https) = (format!("http://{address}"), format!("https://{address}"));
    let ca = ca.display().to_string();
    let ask = |args: &[&str], url: &str| {
        client(args)
            .env("PODGATE_URL", url)
            .env("PODGATE_CA", &ca)
            .env("PODGATE_TOKEN", TOKEN)
    };
    // Handshakes that never come hold nobody up.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(address).await.expect("connect"));
    }
    said(ask(&["user", "add", "john"], &https)).await.good();
    said(ask(&["user", "list"], &plain)).await.failed(1);
}
