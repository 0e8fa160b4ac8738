//! The command line as a client of the API: the real program asks a running podgate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;

use integration::edge::podgate::binary;
use integration::edge::{self, Builder, Podgate};
use integration::process::{Program, free_address};
use integration::world::World;
use serde_json::Value;

mod apply;
mod bulk;
mod connect;
mod control;
mod help;
mod life;
mod limits;
mod policies;
mod ports;

const TOKEN: &str = "the-administrators-token";

/// A running podgate, and the command line that asks it.
struct Site {
    podgate: Podgate,
    api: SocketAddr,
}

impl Site {
    /// An empty one.
    async fn start() -> Self {
        Self::run_on(edge::with_world(World::new())).await
    }

    /// One on a store of its own choice.
    async fn on(store: &str) -> Self {
        Self::run_on(edge::with_world(World::new()).store(store)).await
    }

    async fn run_on(builder: Builder) -> Self {
        let api = free_address();
        let podgate = builder
            .set("control.listen", api.to_string())
            .set("control.admin_token", TOKEN)
            .podgate()
            .await;
        Self { podgate, api }
    }

    fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// `podgate ARGS`, yet to be run.
    fn program(&self, args: &[&str]) -> Program {
        client(args).env("PODGATE_URL", self.url()).env("PODGATE_TOKEN", TOKEN)
    }

    async fn run(&self, args: &[&str]) -> Said {
        Said::of(args, self.program(args).finish().await)
    }

    /// Runs a line of words that must succeed, and gives what it printed.
    async fn ok(&self, line: &str) -> String {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.run(&args).await.good()
    }

    /// The same with `--json`, read.
    async fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("{line} --json")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }

    /// Runs a line of words that must fail with exit code 1, and gives what it said.
    async fn refused(&self, line: &str) -> String {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.run(&args).await.failed(1)
    }

    /// Writes a file for `apply`.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home().join(name);
        std::fs::write(&path, text).expect("write a file");
        path.display().to_string()
    }

    fn home(&self) -> PathBuf {
        self.podgate.config().parent().expect("a directory").to_owned()
    }

    /// The revision that the store is at, but for the write that asks.
    async fn revision(&self) -> i64 {
        let batch = self.podgate.store.begin().await.expect("begin to write");
        let revision = batch.commit().await.expect("commit").0;
        i64::try_from(revision).expect("a small number")
    }
}

/// `podgate ARGS` with no word in its environment of where a podgate is.
fn client(args: &[&str]) -> Program {
    Program::at(binary())
        .args(args)
        .env("PODGATE_TOKEN", "")
        .env("PODGATE_TOKEN_FILE", "")
        .env("NO_COLOR", "")
}

/// What a command answered.
#[derive(Debug)]
struct Said {
    line: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(args: &[&str], output: Output) -> Self {
        Self {
            line: args.join(" "),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "podgate {}: {}{}", self.line, self.out, self.err);
        self.out
    }

    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "podgate {}: {}{}", self.line, self.out, self.err);
        self.err
    }
}
