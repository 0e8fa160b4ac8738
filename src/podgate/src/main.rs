//! The one binary: command line, config file, and the wiring of roles.
//!
//! `run` starts the roles that a config file asks for; `check` and `reload` deal
//! with that file; `demo` writes one and runs on it; the rest ask a running podgate.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

mod config;
mod logging;
mod state;
mod reload;
mod follow;
mod credentials;
mod hosts;
mod lease;
mod certificates;
mod records;
mod domains;
mod latencies;
mod node;
mod run;
mod demo;
mod client;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The edge of a cloud development platform: gives every service of every pod its own
/// name, and lets in only those who may enter.
#[derive(Parser)]
#[command(name = "podgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the roles that a config file configures
    #[command(
        after_help = "Examples:\n  podgate run -c /etc/podgate/podgate.toml\n  podgate run -c podgate.toml --roles edge"
    )]
    Run {
        /// The config file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Run these roles only, e.g. edge,control
        #[arg(long, value_delimiter = ',', value_name = "ROLES")]
        roles: Option<Vec<config::Role>>,
    },
    /// Check a config file without starting: exit 0, or 1 with every problem and its key
    #[command(after_help = "Examples:\n  podgate check -c /etc/podgate/podgate.toml")]
    Check {
        /// The config file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Put a changed config file in force; exits 1 when the running podgate refuses it
    #[command(after_help = "Examples:\n  podgate reload -c /etc/podgate/podgate.toml")]
    Reload {
        /// The config file that podgate was started with
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    #[command(after_help = "Examples:\n  podgate demo\n  podgate demo --json --http 127.0.0.1:0 --https 127.0.0.1:0")]
    Demo(demo::DemoArgs),
    #[command(flatten)]
    Client(client::Client),
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

const COMPLETIONS: &str = "\
Examples:
  podgate completions bash > /etc/bash_completion.d/podgate
  podgate completions zsh > ~/.zfunc/_podgate
  podgate completions fish > ~/.config/fish/completions/podgate.fish";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run { config, roles } => run::run(&config, roles.as_deref(), prometheus::Registry::new()),
        Command::Check { config } => config::check(&config),
        Command::Reload { config } => reload::ask(&config),
        Command::Demo(args) => demo::run(&args, |config, registry| run::run(config, None, registry)),
        Command::Client(client) => return client::run(client),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "podgate", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("podgate: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the person at the terminal.
#[allow(clippy::print_stderr, reason = "this is the command line speaking")]
fn say(line: &str) {
    eprintln!("{line}");
}
