//! The bench of pods' networks works: a short run of all its parts, peers and all. Needs
//! root, and what `make tools` installs.

use std::process::Command;

#[test]
fn every_part_of_the_bench_runs() {
    let ran = Command::new(env!("CARGO_BIN_EXE_pods"))
        .arg("--quick")
        .env("PODGATE_BIN", integration::edge::podgate::binary())
        .output()
        .expect("the bench starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let report = String::from_utf8_lossy(&ran.stdout);
    for part in [
        "## Set-up",
        "## Teardown",
        "## Starting again",
        "## What a pod's traffic costs",
        "## A whole podgate",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
}
