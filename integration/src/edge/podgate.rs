//! The edge as operators run it: the `podgate` program, a config file, a store.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustix::process::Signal;
use store::Store;

use super::{Access, Builder, Listen};
use crate::client::{Answer, Door};
use crate::process::{Process, Program, free_address};
use crate::tls::Authority;
use crate::wait::until;

/// A running `podgate run`.
pub struct Podgate {
    access: Access,
    /// The store that it follows.
    pub store: Store,
    process: Process,
    config: PathBuf,
    roles: Vec<&'static str>,
    /// Ended; the files are in their directory.
    former: Vec<Process>,
}

impl Deref for Podgate {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Drop for Podgate {
    fn drop(&mut self) {
        // What a test leaves open is nobody's loss: no waiting for the drain.
        self.process.signal(Signal::KILL);
    }
}

impl Podgate {
    pub(super) async fn start(builder: Builder) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path();
        let listen = Listen {
            http: free_address(),
            https: builder.https.map(|port| (Ipv4Addr::LOCALHOST, port).into()),
            admin: Some(free_address()),
        };
        let authority = builder.https.map(|_| Arc::new(Authority::new()));

        let own = || format!("sqlite:{}", dir.join("podgate.db").display());
        let url = builder.store.clone().unwrap_or_else(own);
        let data_dir = dir.display().to_string();
        let builder = builder
            .set("store.url", url.as_str())
            .set("store.poll", "50ms")
            .set("store.data_dir", data_dir);
        let config = dir.join("podgate.toml");
        std::fs::write(&config, builder.config_text(dir, &listen, authority.as_deref())).expect("write the config");
        let store = Store::open(&url).await.expect("open the store");
        let Builder {
            mut world,
            signers,
            roles,
            ..
        } = builder;
        world.plant(&store).await;

        let roles: Vec<_> = roles.into_iter().flat_map(|roles| ["--roles", roles]).collect();
        let program = Program::at(binary()).args(["run", "-c"]).arg(&config);
        let process = program.args(&roles).start_in(home);
        let access = Access {
            world,
            signers,
            http: Door::plain(listen.http),
            https: listen.https,
            admin: listen.admin,
            authority,
        };
        let mut running = Self {
            access,
            store,
            process,
            config,
            roles,
            former: Vec::new(),
        };
        running.ready().await;
        running
    }

    /// Waits until it says that it is ready, its API, too: that has to wait for its turn to
    /// write, and answers 503 until then.
    async fn ready(&mut self) {
        let config = std::fs::read_to_string(&self.config).expect("our own config");
        let config: toml::Table = config.parse().expect("our own TOML");
        if config.contains_key("control") {
            let process = &mut self.process;
            until("the API of podgate", async || {
                assert!(process.is_running(), "podgate ended:\n{}", process.printed());
                process.printed().contains("API ready").then_some(())
            })
            .await;
        }
        self.serves().await;
    }

    /// Waits until its edge says that it is ready.
    async fn serves(&mut self) {
        let request = self.admin_request("/readyz");
        let process = &mut self.process;
        until("/readyz of podgate", async || {
            assert!(process.is_running(), "podgate ended:\n{}", process.printed());
            request
                .try_send()
                .await
                .ok()
                .filter(|answer: &Answer| answer.status() == 200)
        })
        .await;
    }

    /// Kills it, so that it can tidy nothing up, and starts it again on its files.
    pub async fn restart(&mut self) {
        self.start_again().await;
        self.ready().await;
    }

    /// The same while its store is away, without which there is no API.
    pub async fn restart_without_store(&mut self) {
        self.start_again().await;
        self.serves().await;
    }

    async fn start_again(&mut self) {
        self.process.signal(Signal::KILL);
        let again = Program::at(binary())
            .args(["run", "-c"])
            .arg(&self.config)
            .args(&self.roles);
        until("the killed podgate to be gone", async || {
            (!self.process.is_running()).then_some(())
        })
        .await;
        self.former.push(std::mem::replace(&mut self.process, again.start()));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Changes the config file's text; nothing notices before a reload.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(&self.config).expect("read the config");
        std::fs::write(&self.config, edit(text)).expect("write the config");
    }

    /// Tells it to reload its config, without waiting for the outcome.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Runs `podgate VERB -c FILE` to its end.
    pub async fn command(&self, verb: &str) -> Output {
        command(&[verb, "-c", &self.config.display().to_string()]).await
    }

    /// Waits until it has applied all that was written to the store so far.
    pub async fn caught_up(&self) {
        // An empty write of our own: whoever has seen its revision has seen all before.
        let batch = self.store.begin().await.expect("begin to write");
        let revision = batch.commit().await.expect("commit").0;
        until("the edge to catch up with the store", async || {
            let seen = self.metric("podgate_table_revision", &[]).await?;
            (seen >= revision as f64).then_some(())
        })
        .await;
    }
}

/// Runs the program with these arguments to its end.
pub async fn command(args: &[&str]) -> Output {
    Program::at(binary()).args(args).finish().await
}

/// The `podgate` program of this build, as new as its sources.
///
/// Cargo gives a binary's path only to tests of its own package; here it is found
/// beside the test, and built when it is missing or old, as `cargo test -p
/// integration` does neither. `PODGATE_BIN` names another one.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("PODGATE_BIN") {
            return given.into();
        }
        // target/debug/deps/TEST
        let test = std::env::current_exe().expect("the test's own path");
        let profile = test
            .parent()
            .and_then(Path::parent)
            .expect("a test lies in PROFILE/deps");
        let binary = profile.join("podgate");
        let built = std::fs::metadata(&binary)
            .and_then(|file| file.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        if newest_source() > built {
            build(profile);
        }
        binary
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
}

/// When a source of the program last changed.
fn newest_source() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut rest: Vec<PathBuf> = ["src", "filters", "migrations", "Cargo.lock"]
        .map(|name| workspace().join(name))
        .into();
    while let Some(path) = rest.pop() {
        if let Ok(entries) = std::fs::read_dir(&path) {
            rest.extend(entries.flatten().map(|entry| entry.path()));
        } else if let Ok(changed) = std::fs::metadata(&path).and_then(|file| file.modified()) {
            newest = newest.max(changed);
        }
    }
    newest
}

/// The whole workspace is selected, so that features are those of the tests' build
/// and nothing is built twice.
fn build(profile: &Path) {
    let release = profile.ends_with("release").then_some("--release");
    let output = Program::find("cargo", "Rust")
        .args(["build", "--workspace", "--bin", "podgate", "--target-dir"])
        .arg(profile.parent().expect("a profile lies in the target directory"))
        .args(release)
        .dir(workspace())
        .output();
    assert!(
        output.status.success(),
        "cargo build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
