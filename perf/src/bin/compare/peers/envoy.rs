//! Envoy with its JWT and local rate-limit filters.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perf::fleet;

use super::{Checks, Plan, version};
use perf::process::Program;
use perf::site::{Site, find_program, free_address};

pub(super) fn plan(site: &Site) -> Result<Option<Plan>> {
    let Some(path) = find_program("envoy") else {
        return Ok(None);
    };
    let (http, https) = (free_address()?, free_address()?);
    let config = site.render(
        "envoy.yaml",
        include_str!("../../../../peers/envoy.yaml"),
        &[
            ("http_port", http.port().to_string()),
            ("https_port", https.port().to_string()),
            // A JWK holds its key in this alphabet (RFC 7515, 2).
            ("secret_base64", URL_SAFE_NO_PAD.encode(fleet::SECRET)),
        ],
    )?;
    let version = version(&path, "--version")?;
    // `.../envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`
    let version = version
        .split('/')
        .rev()
        .nth(3)
        .map_or_else(|| version.clone(), |v| format!("Envoy {v}"));
    Ok(Some(Plan {
        version,
        settings: "--concurrency 1; jwt_authn (HS256, its cache on), local_ratelimit (never refuses), no access log; \
                   checks no owner",
        checks: Checks::Token,
        proxies: vec![Program {
            name: "envoy".into(),
            path,
            args: ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]
                .map(Into::into)
                .into_iter()
                .chain([config.into()])
                .collect(),
            env: Vec::new(),
            listens: vec![http, https],
        }],
        auth: None,
        http,
        https: Some(https),
        ws: http,
    }))
}
