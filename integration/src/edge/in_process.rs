//! The edge inside the test: the same code on a plain listener, its table filled
//! by hand instead of from a store.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use ::edge::config::{PodNetwork, Sections, read};
use ::edge::{Client, Config, Edge, Handle, Table};
use edge::exchange::Options;
use filters::limit::Policies;
use model::config::{Problem, Secrets, Section};
use model::{Change, Entity, Key, Revision, Update};
use prometheus::Registry;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::{Access, Listen};
use crate::client::Door;
use crate::token::Signer;

/// Where pods live when no sidecar is configured.
const POD_CIDR: &str = "10.100.0.0/16";

/// A running edge; dropping it ends it, with every connection.
pub struct InProcess {
    access: Access,
    /// Feeds and reloads it.
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    builder: super::Builder,
    listen: Listen,
    home: tempfile::TempDir,
}

impl Deref for InProcess {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        // Dropping the sender is the signal; the thread's runtime cuts what is open.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl InProcess {
    pub(super) async fn start(mut builder: super::Builder) -> Self {
        assert!(builder.https.is_none(), "HTTPS takes the real program: `.podgate()`");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket for tokio");
        let http = listener.local_addr().expect("a bound socket has an address");
        let listen = Listen {
            http,
            https: None,
            admin: None,
        };
        let home = tempfile::tempdir().expect("a temporary directory");
        let (fixed, config) = load(&builder, home.path(), &listen).unwrap_or_else(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("the config is refused:\n{}", problems.join("\n"))
        });

        let edge = Edge::new(fixed, config, Arc::new(Table::new()), Registry::new(), None).expect("an edge");
        let handle = edge.handle();
        let access = Access {
            world: builder.world.clone(),
            signers: std::mem::take(&mut builder.signers),
            http: Door::plain(http),
            https: None,
            admin: None,
            authority: None,
        };
        handle.apply(Update {
            reset: true,
            changes: access.world.entities().into_iter().map(Change::Put).collect(),
            revision: Some(Revision(1)),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(edge, listener, stopped));
        Self {
            access,
            handle,
            stop: Some(stop),
            thread: Some(thread),
            builder,
            listen,
            home,
        }
    }

    /// Tells it of rows that are new or different.
    pub fn put(&self, entities: impl IntoIterator<Item = Entity>) {
        self.change(entities.into_iter().map(Change::Put).collect());
    }

    /// Tells it of rows that are gone.
    pub fn remove(&self, keys: impl IntoIterator<Item = Key>) {
        self.change(keys.into_iter().map(Change::Remove).collect());
    }

    fn change(&self, changes: Vec<Change>) {
        let next = Revision(self.handle.table().revision().0 + 1);
        self.handle.apply(Update {
            reset: false,
            changes,
            revision: Some(next),
        });
    }

    /// Reloads it with these signing keys of the outside issuer in place of those before.
    ///
    /// # Panics
    /// When the config is refused.
    pub fn rotate(&mut self, signers: impl IntoIterator<Item = Signer>) {
        self.access.signers = signers.into_iter().collect();
        self.load_again();
    }

    /// Reloads it with a config key, dotted, set to another value.
    ///
    /// # Panics
    /// When the config is refused.
    pub fn reload(&mut self, key: &str, value: impl Into<toml::Value>) {
        super::put(&mut self.builder.config, key, value.into());
        self.load_again();
    }

    fn load_again(&mut self) {
        // The keys it trusts are the running edge's.
        let signers = std::mem::take(&mut self.access.signers);
        self.builder.signers = signers;
        let loaded = load(&self.builder, self.home.path(), &self.listen);
        self.access.signers = std::mem::take(&mut self.builder.signers);
        let (_, config) = loaded.unwrap_or_else(|problems| panic!("the config is refused: {problems:?}"));
        self.handle.reload(config).expect("the access log opens");
    }
}

/// Runs an edge on a thread of its own, as each of Pingora's workers does: one
/// runtime, nothing stolen from it.
fn serve(edge: Edge, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket for tokio");
        tokio::select! {
            ended = edge.serve(listener) => panic!("the edge stopped accepting: {ended:?}"),
            _ = stopped => {}
        }
    });
}

/// Tests name no files and variables for secrets.
struct Inline;

impl Secrets for Inline {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| e.to_string())
    }

    fn env(&self, name: &str) -> Result<String, String> {
        Err(format!("no variable {name} in tests"))
    }
}

fn load(
    builder: &super::Builder,
    home: &Path,
    listen: &Listen,
) -> Result<(::edge::config::Fixed, Config), Vec<Problem>> {
    let mut file: toml::Table = builder.config_text(home, listen, None).parse().expect("our own TOML");
    let mut section = |name: &str| {
        let table = match file.remove(name) {
            Some(toml::Value::Table(table)) => table,
            _ => toml::Table::new(),
        };
        Section::new(name, table, &Inline)
    };
    let mut sidecar = section("sidecar");
    let pods = PodNetwork {
        cidr: POD_CIDR.parse().expect("a network"),
        cidr6: None,
        ports: sidecar.parse("port_range").unwrap_or_default(),
        node: sidecar.parse("node"),
    };
    let mut sections = Sections {
        edge: section("edge"),
        tls: section("tls"),
        log: section("log"),
        pods,
        seals: false,
    };
    let (mut auth, mut limits) = (section("auth"), section("limits"));
    let (fixed, options) = read(&mut sections);
    let config = Config {
        client: Client::read(&mut auth, "ca"),
        auth: Arc::new(filters::auth::Config::read(&mut auth, &options.domain)),
        limits: Policies::read(&mut limits),
        exchange: Options::read(&mut limits),
        seals: None,
        options,
    };
    let Sections { edge, tls, log, .. } = sections;
    let problems: Vec<Problem> = [edge, tls, log, auth, limits]
        .into_iter()
        .flat_map(Section::finish)
        .collect();
    if problems.is_empty() {
        Ok((fixed, config))
    } else {
        Err(problems)
    }
}
