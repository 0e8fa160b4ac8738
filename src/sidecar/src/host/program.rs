//! Programs whose rules are theirs to write: by their own words, so that what they find
//! later is what they understand.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// Runs the first of these that there is, with something to read; what it prints.
///
/// # Errors
/// When none is there, or what it says.
pub(super) fn run(names: &[&str], args: &[&str], input: &str) -> io::Result<String> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{} is missing", names.join(" or ")));
    let mut started = Err(missing());
    for name in names {
        started = Command::new(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match &started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => break,
        }
    }
    let mut program = started.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(),
        _ => error,
    })?;
    if let Some(mut stdin) = program.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let ended = program.wait_with_output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let name = names.first().unwrap_or(&"it");
        return Err(io::Error::other(format!("{name} {}: {}", args.join(" "), said.trim())));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}
