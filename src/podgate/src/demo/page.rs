//! The demo's pages: one document each, style and script inside, nothing fetched
//! from anywhere, and a policy that lets exactly that style and that script run.

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A page, whole but for the data that a request adds.
#[derive(Debug, Clone)]
pub(super) struct Page {
    head: Bytes,
    tail: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Puts a page together from its parts; `html` holds `{{style}}`, `{{script}}`
    /// and `{{data}}` once each, the data after the other two.
    pub(super) fn new(html: &str, css: &str, js: &str) -> anyhow::Result<Self> {
        let html = html.replace("{{style}}", css).replace("{{script}}", js);
        let (head, tail) = html
            .split_once("{{data}}")
            .ok_or_else(|| anyhow::anyhow!("the page has no place for its data"))?;
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            source(js),
            source(css)
        );
        Ok(Self {
            head: Bytes::copy_from_slice(head.as_bytes()),
            tail: Bytes::copy_from_slice(tail.as_bytes()),
            policy: HeaderValue::from_str(&policy)?,
        })
    }

    /// The page with its data, which the script reads as JSON.
    pub(super) fn with(&self, data: &serde_json::Value) -> Response {
        let data = inert(&data.to_string());
        let mut body = Vec::with_capacity(self.head.len() + data.len() + self.tail.len());
        body.extend_from_slice(&self.head);
        body.extend_from_slice(data.as_bytes());
        body.extend_from_slice(&self.tail);
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            ),
        ];
        (headers, body).into_response()
    }
}

/// A text as the policy names it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// JSON that cannot end the element it stands in.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn data_cannot_leave_its_element_and_the_policy_names_the_script() {
        let page = Page::new(
            "<style>{{style}}</style><script>{{script}}</script>{{data}}!",
            "a{}",
            "run()",
        )
        .expect("has all three");
        let response = page.with(&serde_json::json!({ "agent": "</script><b>&" }));
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("text")
            .to_owned();
        // printf 'run()' | openssl dgst -sha256 -binary | base64
        assert!(
            policy.contains("script-src 'sha256-AvyuiL0SD1mVY3NNxR+V2uo+lhk6RMFrytWmRt6CrJQ='"),
            "{policy}"
        );
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        assert_eq!(
            body,
            r#"<style>a{}</style><script>run()</script>{"agent":"\u003c/script\u003e\u003cb\u003e\u0026"}!"#
        );
        assert!(Page::new("{{style}}", "", "").is_err());
    }
}
