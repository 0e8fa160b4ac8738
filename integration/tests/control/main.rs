//! The API as the real program serves it.

use http::Method;
use integration::edge::fleet::Api;
use integration::edge::podgate::binary;
use integration::process::{Process, Program, free_address};
use integration::wait::until;
use serde_json::Value;

mod explain;
mod openapi;
mod writers;

const ADMIN_TOKEN: &str = "the-admin-token-of-this-test";

/// A control plane in a process of its own.
struct Control {
    api: Api,
    process: Process,
}

impl Control {
    /// Starts one on a store, or on an SQLite file of its own.
    async fn start(store: Option<&str>) -> Self {
        Self::run(store, "control", "").await
    }

    /// Starts it with these roles, and more in the section of the edge.
    async fn run(store: Option<&str>, roles: &str, edge: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().display();
        let store = store.map_or_else(|| format!("sqlite:{dir}/podgate.db"), str::to_owned);
        let listen = free_address();
        let text = format!(
            "[store]\nurl = \"{store}\"\ndata_dir = \"{dir}\"\n[edge]\ndomain = \"example.dev\"\n{edge}\n\
             [control]\nlisten = \"{listen}\"\nadmin_token = \"{ADMIN_TOKEN}\"\n"
        );
        let config = home.path().join("podgate.toml");
        std::fs::write(&config, text).expect("write the config");
        let mut process = Program::at(binary())
            .args(["run", "--roles", roles, "-c"])
            .arg(&config)
            .start_in(home);
        let api = Api::at(listen, ADMIN_TOKEN);
        let request = api.request(Method::GET, "users", &Value::Null);
        until("the API", async || {
            assert!(process.is_running(), "it ended:\n{}", process.printed());
            request.try_send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        Self { api, process }
    }
}
