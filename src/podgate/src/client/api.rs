//! The API as commands use it: JSON in, JSON out, lists whole.

use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::failure::Refused;
use super::http::Http;
use super::token::{self, Source};

/// The most that a page holds.
const PAGE: u16 = 1000;
/// RFC 3986, 2.3: what needs no escape.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text as one segment of a path, or one value of a query.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A podgate's API, opened by a token.
pub(super) struct Api {
    http: Http,
    token: HeaderValue,
    source: Source,
}

impl Api {
    /// Finds the token; connects to nothing yet.
    pub(super) fn new(endpoint: Endpoint, ca: Option<&Path>) -> anyhow::Result<Self> {
        let (token, source) = token::find(&endpoint)?;
        let http = Http::new(endpoint, ca)?;
        Ok(Self { http, token, source })
    }

    /// What is at a path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Creates something.
    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sets something as a whole.
    pub(super) async fn put(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Changes some fields.
    pub(super) async fn patch(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// What is at a path, and the ETag that says which write it comes from.
    pub(super) async fn get_tagged(&self, path: &str) -> anyhow::Result<(Value, Option<HeaderValue>)> {
        self.exchange(Method::GET, path, None, None).await
    }

    /// Changes some fields of what is as an ETag says.
    pub(super) async fn patch_if(&self, path: &str, tag: Option<HeaderValue>, body: Value) -> anyhow::Result<Value> {
        let (answer, _) = self.exchange(Method::PATCH, path, Some(body), tag).await?;
        Ok(answer)
    }

    /// Sets something that is as an ETag says as a whole.
    pub(super) async fn put_if(&self, path: &str, tag: Option<HeaderValue>, body: Value) -> anyhow::Result<Value> {
        let (answer, _) = self.exchange(Method::PUT, path, Some(body), tag).await?;
        Ok(answer)
    }

    /// Removes something.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, None).await?;
        Ok(())
    }

    /// A whole list, page by page.
    pub(super) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.some(path, usize::MAX).await
    }

    /// The first `most` items of a list, page by page.
    pub(super) async fn some(&self, path: &str, most: usize) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = (most - items.len()).min(PAGE.into());
            let mut page_path = format!("{path}{}limit={limit}", if path.contains('?') { '&' } else { '?' });
            if let Some(after) = &after {
                page_path.push_str("&after=");
                page_path.push_str(&segment(after));
            }
            let mut page = self.get(&page_path).await?;
            let Some(Value::Array(mut part)) = page.get_mut("items").map(Value::take) else {
                bail!("{} answered {path} with no list", self.http.endpoint());
            };
            items.append(&mut part);
            let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if next.is_none() || items.len() >= most {
                return Ok(items);
            }
            if next == after {
                bail!(
                    "{} answers the same page of {path} again and again",
                    self.http.endpoint()
                );
            }
            after = next;
        }
    }

    /// Sends a request; answers null to an answer without a body.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (answer, _) = self.exchange(method, path, body, None).await?;
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        if_match: Option<HeaderValue>,
    ) -> anyhow::Result<(Value, Option<HeaderValue>)> {
        let endpoint = self.http.endpoint();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", endpoint.base))
            .header(header::HOST, endpoint.host.as_str())
            .header(header::AUTHORIZATION, self.token.clone())
            .header(header::ACCEPT, "application/json");
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(body.to_string()))
            }
            None => Full::default(),
        };
        let request = request.body(body).with_context(|| format!("ask for {path}"))?;
        let (head, body) = self.http.send(request).await?.into_parts();
        let status = head.status;
        if !status.is_success() {
            return Err(Refused::new(status, &body, path, &self.source).into());
        }
        let tag = head.headers.get(header::ETAG).cloned();
        if body.is_empty() {
            return Ok((Value::Null, tag));
        }
        let answer = serde_json::from_slice(&body)
            .with_context(|| format!("{endpoint} answers {status} and no JSON; is this podgate's API?"))?;
        Ok((answer, tag))
    }
}
