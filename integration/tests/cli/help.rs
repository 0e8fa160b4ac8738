//! Help and completions.

use integration::process::Program;

use super::{Said, client};

/// Every command with its verbs.
const COMMANDS: [(&str, &[&str]); 22] = [
    ("run", &[]),
    ("check", &[]),
    ("reload", &[]),
    ("user", &["list", "add", "show", "set", "remove"]),
    ("team", &["list", "add", "show", "remove", "members", "join", "leave"]),
    ("node", &["list", "add", "show", "set", "remove"]),
    ("pod", &["list", "add", "show", "set", "remove"]),
    ("service", &["list", "add", "show", "set", "remove"]),
    ("share", &["list", "add", "show", "remove"]),
    ("policy", &["show", "set", "remove"]),
    ("port", &["list", "allocate", "release"]),
    ("forward", &["list", "add", "set", "remove"]),
    ("token", &["add"]),
    ("session", &["end"]),
    ("api-token", &["list", "add", "remove"]),
    ("route", &["list"]),
    ("audit", &["list"]),
    ("explain", &[]),
    ("apply", &[]),
    ("export", &[]),
    ("completions", &[]),
    ("demo", &[]),
];

async fn help(args: &[&str]) -> String {
    let args: Vec<&str> = args.iter().copied().chain(["--help"]).collect();
    Said::of(&args, client(&args).finish().await).good()
}

#[tokio::test]
async fn every_command_has_examples() {
    let overview = help(&[]).await;
    for (command, verbs) in COMMANDS {
        assert!(overview.contains(&format!("\n  {command} ")), "{command}: {overview}");
        let about = help(&[command]).await;
        assert!(about.contains("Examples:\n  podgate "), "{command}: {about}");
        for verb in verbs {
            let text = help(&[command, verb]).await;
            assert!(
                text.contains(&format!("\n  podgate {command} {verb}")),
                "{command} {verb}: {text}"
            );
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(100), "{command} {verb}: {text}");
        }
    }
}

#[tokio::test]
async fn completions_are_what_the_shell_accepts() {
    let dir = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let script = Said::of(&[shell], client(&["completions", shell]).finish().await).good();
        for word in ["api-token", "completions", "visibility", "dry-run"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let file = dir.path().join(shell);
        std::fs::write(&file, script).expect("write the script");
        if shell == "bash" {
            let checked = Program::find("bash", "bash").arg("-n").arg(&file).finish().await;
            Said::of(&["bash -n"], checked).good();
            // What a person gets who types `podgate pod <TAB>`.
            let ask = format!(
                ". {}; COMP_WORDS=(podgate pod ''); COMP_CWORD=2; _podgate podgate '' pod; echo ${{COMPREPLY[@]}}",
                file.display()
            );
            let asked = Program::find("bash", "bash").args(["-c", &ask]).finish().await;
            let offered = Said::of(&["completion"], asked).good();
            assert!(offered.contains("list") && offered.contains("set"), "{offered}");
        }
    }
}
