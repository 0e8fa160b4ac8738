//! A podgate that has its certificates issued, on SQLite, with one public service.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use integration::client::{Answer, Door, Request};
use integration::edge::fleet::Api;
use integration::edge::podgate::binary;
use integration::process::knot::Knot;
use integration::process::pebble::{Pebble, Ways};
use integration::process::{Process, Program, free_address};
use integration::rustls::ClientConfig;
use integration::rustls::pki_types::ServerName;
use integration::wait::until;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where services are.
pub(crate) const DOMAIN: &str = "pods.test";
const TOKEN: &str = "a-token-of-the-administrators";

fn start(home: &TempDir) -> Process {
    let config = home.path().join("podgate.toml");
    Program::at(binary()).args(["run", "-c"]).arg(config).start()
}

/// podgate, with its authority.
pub(crate) struct Site {
    /// The authority.
    pub(crate) pebble: Pebble,
    podgate: Podgate,
}

impl Deref for Site {
    type Target = Podgate;

    fn deref(&self) -> &Podgate {
        &self.podgate
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Podgate {
        &mut self.podgate
    }
}

/// podgate by itself.
pub(crate) struct Podgate {
    /// Its program.
    pub(crate) process: Process,
    /// Where its files are.
    pub(crate) home: TempDir,
    /// Its API.
    pub(crate) api: Api,
    /// Its listeners.
    pub(crate) http: SocketAddr,
    /// Its listeners.
    pub(crate) https: SocketAddr,
}

impl Site {
    /// Starts it; no service is there yet.
    pub(crate) async fn start(origin: SocketAddr, validity: u32, acme: &str) -> Self {
        let [http, https, listen] = [free_address(), free_address(), free_address()];
        let pebble = Pebble::start(Ways { http, https, validity }).await;
        Self::with(pebble, [http, https, listen], origin, acme).await
    }

    /// Starts it with an authority that asks a DNS server which podgate can change.
    pub(crate) async fn on_zone(knot: &Knot, origin: SocketAddr, validity: u32, section: &str) -> Self {
        let [http, https, listen] = [free_address(), free_address(), free_address()];
        let pebble = Pebble::asking(knot.address, Ways { http, https, validity }).await;
        Self::with(pebble, [http, https, listen], origin, section).await
    }

    async fn with(pebble: Pebble, listen: [SocketAddr; 3], origin: SocketAddr, acme: &str) -> Self {
        let podgate = Podgate::start(
            listen,
            origin,
            &format!("https = \"{}\"", listen[1]),
            &pebble.section(acme),
        )
        .await;
        Self { pebble, podgate }
    }
}

impl Podgate {
    /// Starts it with more keys of its edge, and more sections; no service is there yet.
    pub(crate) async fn start(listen: [SocketAddr; 3], origin: SocketAddr, edge: &str, sections: &str) -> Self {
        Self::on("sqlite:HOME/podgate.db", listen, origin, edge, sections).await
    }

    /// The same on another store; `HOME` in its address is where podgate's files are.
    pub(crate) async fn on(
        store: &str,
        listen: [SocketAddr; 3],
        origin: SocketAddr,
        edge: &str,
        sections: &str,
    ) -> Self {
        let [http, https, listen] = listen;
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = home.path().display().to_string();
        let store = store.replace("HOME", &directory);
        let config = format!(
            "[store]\nurl = \"{store}\"\ndata_dir = \"{directory}\"\n[edge]\nhttp = \"{http}\"\n\
             domain = \"{DOMAIN}\"\nallow_targets = [\"{}/32\"]\n{edge}\n\
             [control]\nlisten = \"{listen}\"\nadmin_token = \"{TOKEN}\"\n{sections}",
            origin.ip(),
        );
        std::fs::write(home.path().join("podgate.toml"), config).expect("write the config");
        let mut podgate = Self {
            process: start(&home),
            home,
            api: Api::at(listen, TOKEN),
            http,
            https,
        };
        podgate.ready().await;
        podgate
    }

    async fn ready(&mut self) {
        let users = self.api.request(Method::GET, "users", &json!(null));
        let process = &mut self.process;
        until("the API", async || {
            assert!(process.is_running(), "it ended:\n{}", process.printed());
            users.try_send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Kills podgate and starts it again.
    pub(crate) async fn die(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended(Duration::from_secs(5)).await;
        self.process = start(&self.home);
        self.ready().await;
    }

    /// What `podgate` says with these arguments.
    pub(crate) async fn command(&self, args: &[&str]) -> std::process::Output {
        Program::at(binary())
            .args(args)
            .env("PODGATE_URL", &self.api.url)
            .env("PODGATE_TOKEN", TOKEN)
            .finish()
            .await
    }

    /// Makes a public service that leads to an origin, and gives its host.
    pub(crate) async fn service(&self, name: &str, origin: SocketAddr) -> String {
        self.api.call(Method::POST, "users", json!({"name": "john"})).await;
        let pods = self.api.ok(Method::GET, "pods", json!(null)).await;
        let pod = match pods["items"][0]["id"].as_str() {
            Some(id) => id.to_owned(),
            None => {
                let pod = json!({"name": "web", "owner": "john"});
                let pod = self.api.ok(Method::POST, "pods", pod).await;
                let id = pod["id"].as_str().expect("an id").to_owned();
                let ready = json!({"state": "ready"});
                self.api.ok(Method::PATCH, &format!("pods/{id}"), ready).await;
                id
            }
        };
        let service = json!({"name": name, "port": 80, "visibility": "public", "targets": [origin.to_string()]});
        let service = self
            .api
            .ok(Method::POST, &format!("pods/{pod}/services"), service)
            .await;
        service["host"].as_str().expect("a host").to_owned()
    }

    /// The answer at a host by a certificate that the authority has issued, when there is one.
    pub(crate) async fn secure(&self, client: &Arc<ClientConfig>, host: &str, path: &str) -> Option<Answer> {
        let door = Door {
            address: self.https,
            tls: Some(Arc::clone(client)),
        };
        Request::get(&door, host, path).try_send().await.ok()
    }

    /// The certificate that a handshake for a host shows now.
    pub(crate) async fn leaf(&self, client: &Arc<ClientConfig>, host: &str) -> Vec<u8> {
        let stream = TcpStream::connect(self.https).await.expect("connect");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::clone(client))
            .connect(name, stream)
            .await
            .expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("a chain");
        chain[0].to_vec()
    }
}
