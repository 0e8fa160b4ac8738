//! Several edges and a control plane as processes of their own on one PostgreSQL.

use std::net::SocketAddr;
use std::ops::Deref;

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use store::Store;

use super::podgate::binary;
use super::{Access, Listen, with_world};
use crate::client::{Answer, Door, Request};
use crate::database::Postgres;
use crate::process::{Process, Program, free_address};
use crate::token::Signer;
use crate::wait::until;
use crate::world::World;

const ADMIN_TOKEN: &str = "the-admin-token-of-a-fleet";

/// A control plane and its edges.
pub struct Fleet {
    /// The API.
    pub api: Api,
    /// The edges.
    pub edges: Vec<Member>,
    /// The store that all of them follow.
    pub store: Store,
    /// Its server.
    pub postgres: Postgres,
    control: Process,
}

/// An edge of a fleet.
pub struct Member {
    access: Access,
    process: Process,
}

impl Deref for Member {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Member {
    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The API as a program calls it.
#[derive(Clone)]
pub struct Api {
    door: Door,
    /// What the command line takes as `PODGATE_URL`.
    pub url: String,
    /// What it takes as `PODGATE_TOKEN`.
    pub token: &'static str,
}

impl Api {
    /// The API at an address.
    pub fn at(listen: SocketAddr, token: &'static str) -> Self {
        Self {
            door: Door::plain(listen),
            url: format!("http://{listen}"),
            token,
        }
    }

    /// A request to `/api/v1/` and this path.
    pub fn request(&self, method: Method, path: &str, body: &Value) -> Request {
        let request = Request::get(&self.door, "localhost", &format!("/api/v1/{path}"));
        let request = if body.is_null() {
            request
        } else {
            request
                .post(body.to_string())
                .header("content-type", "application/json")
        };
        request.method(method).bearer(self.token)
    }

    /// Sends it.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.request(method, path, &body).send().await
    }

    /// Sends what must be accepted, and gives the answer's JSON (`null` without any).
    ///
    /// # Panics
    /// When it is refused.
    pub async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.call(method.clone(), path, body).await;
        assert!((200..300).contains(&answer.status()), "{method} {path}: {answer:?}");
        if answer.bytes().is_empty() {
            Value::Null
        } else {
            answer.json()
        }
    }
}

impl Fleet {
    /// Starts it with so many edges, all of them ready, on a database of its own.
    ///
    /// # Panics
    /// When something of it does not start.
    pub async fn start(edges: usize) -> Self {
        Self::start_on(Postgres::start().await, edges).await
    }

    /// Starts it on what a database holds.
    ///
    /// # Panics
    /// When something of it does not start.
    pub async fn start_on(postgres: Postgres, edges: usize) -> Self {
        let store = Store::open(&postgres.url()).await.expect("open the store");

        let listen = free_address();
        let (home, config) = configured(
            &postgres,
            &format!("[control]\nlisten = \"{listen}\"\nadmin_token = \"{ADMIN_TOKEN}\"\n"),
            None,
        );
        let control = run(home, &config, "control");
        let api = Api::at(listen, ADMIN_TOKEN);
        let mut fleet = Self {
            api,
            edges: Vec::new(),
            store,
            postgres,
            control,
        };
        for _ in 0..edges {
            let listen = Listen {
                http: free_address(),
                https: None,
                admin: Some(free_address()),
            };
            let (home, config) = configured(&fleet.postgres, "", Some(&listen));
            fleet.edges.push(Member {
                access: Access {
                    world: World::new(),
                    signers: vec![Signer::hs256("test")],
                    http: Door::plain(listen.http),
                    https: None,
                    admin: listen.admin,
                    authority: None,
                },
                process: run(home, &config, "edge"),
            });
        }
        fleet.ready().await;
        fleet
    }

    async fn ready(&mut self) {
        for edge in &mut self.edges {
            let request = edge.access.admin_request("/readyz");
            let process = &mut edge.process;
            until("an edge of the fleet", async || {
                assert!(process.is_running(), "it ended:\n{}", process.printed());
                request.try_send().await.ok().filter(|answer| answer.status() == 200)
            })
            .await;
        }
        let request = self.api.request(Method::GET, "users", &Value::Null);
        let control = &mut self.control;
        until("the API", async || {
            assert!(control.is_running(), "it ended:\n{}", control.printed());
            request.try_send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Waits until every edge has applied all that was written so far.
    ///
    /// # Panics
    /// When one does not.
    pub async fn caught_up(&self) {
        let batch = self.store.begin().await.expect("begin to write");
        let revision = batch.commit().await.expect("commit").0;
        for edge in &self.edges {
            until("an edge to catch up", async || {
                let seen = edge.metric("podgate_table_revision", &[]).await?;
                (seen >= revision as f64).then_some(())
            })
            .await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in self.edges.iter().map(|edge| &edge.process).chain([&self.control]) {
            process.signal(Signal::KILL);
        }
    }
}

/// A config file in a directory of its own.
fn configured(postgres: &Postgres, more: &str, listen: Option<&Listen>) -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let anywhere = Listen {
        http: free_address(),
        https: None,
        admin: None,
    };
    let text = with_world(World::new())
        .set("store.url", postgres.url())
        .set("store.data_dir", home.path().display().to_string())
        .config_text(home.path(), listen.unwrap_or(&anywhere), None);
    let config = home.path().join("podgate.toml");
    std::fs::write(&config, format!("{text}\n{more}")).expect("write the config");
    (home, config)
}

fn run(home: tempfile::TempDir, config: &std::path::Path, role: &str) -> Process {
    Program::at(binary())
        .args(["run", "--roles", role, "-c"])
        .arg(config)
        .start_in(home)
}
