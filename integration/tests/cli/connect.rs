//! Where podgate is, and which token opens it.

use integration::process::{Program, free_address};

use super::{Said, Site, TOKEN, client};

async fn said(program: Program) -> Said {
    Said::of(&[], program.finish().await)
}

#[tokio::test]
async fn a_token_comes_from_the_environment_or_a_file() {
    let site = Site::start().await;
    let list = || client(&["user", "list"]).env("PODGATE_URL", site.url());
    let nowhere = tempfile::tempdir().expect("a directory");

    said(list().env("PODGATE_TOKEN", TOKEN)).await.good();
    let file = site.file("secret", &format!("{TOKEN}\n"));
    said(list().env("PODGATE_TOKEN_FILE", &file)).await.good();

    let none = said(list().dir(nowhere.path())).await.failed(2);
    assert!(
        none.contains("no token for") && none.contains("PODGATE_TOKEN"),
        "{none}"
    );
    let wrong = said(list().env("PODGATE_TOKEN", "something else")).await.failed(2);
    assert!(
        wrong.contains("PODGATE_TOKEN holds is not a token") && !wrong.contains("else\n"),
        "{wrong}"
    );
    let wrong = said(list().env("PODGATE_TOKEN", "something-else")).await.failed(1);
    assert!(
        wrong.contains("that of PODGATE_TOKEN") && wrong.contains("control.admin_token"),
        "{wrong}"
    );
    let missing = said(list().env("PODGATE_TOKEN_FILE", "/nowhere/at/all"))
        .await
        .failed(1);
    assert!(missing.contains("/nowhere/at/all"), "{missing}");
}

#[tokio::test]
async fn the_token_in_the_state_directory_is_for_this_machine_only() {
    let site = Site::start().await;
    let state = tempfile::tempdir().expect("a directory");
    std::fs::write(state.path().join("admin.token"), format!("{TOKEN}\n")).expect("write the token");
    let list = |url: &str| client(&["user", "list"]).dir(state.path()).env("PODGATE_URL", url);
    said(list(&site.url())).await.good();
    let far = said(list("https://gate.example:9091")).await.failed(2);
    assert!(far.contains("no token for https://gate.example:9091"), "{far}");
}

#[tokio::test]
async fn nobody_there() {
    let address = free_address();
    let url = format!("http://{address}");
    let list = client(&["user", "list"]).env("PODGATE_TOKEN", TOKEN);
    let none = said(list.env("PODGATE_URL", &url)).await.failed(1);
    let first = format!("podgate: cannot connect to {url}: Connection refused");
    assert!(
        none.starts_with(&first) && none.contains("is podgate running"),
        "{none}"
    );
    let list = client(&["user", "list", "--url", "unix:/nowhere/api.sock"]).env("PODGATE_TOKEN", TOKEN);
    let none = said(list).await.failed(1);
    assert!(none.contains("unix:/nowhere/api.sock"), "{none}");
}

#[tokio::test]
async fn somebody_else_there() {
    let site = Site::start().await;
    let edge = site.podgate.http.address;
    let list = client(&["user", "list"]).env("PODGATE_TOKEN", TOKEN);
    let other = said(list.env("PODGATE_URL", format!("http://{edge}"))).await;
    assert_eq!(other.code, Some(1), "{other:?}");
}
