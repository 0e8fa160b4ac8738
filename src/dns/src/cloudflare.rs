//! Cloudflare's API, version 4: <https://developers.cloudflare.com/api/resources/dns>. What is
//! sent is, byte for byte, what Cloudflare's own libraries send for the same calls; a test
//! compares.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::http::Http;
use crate::{DnsError, MARK, Own, Pointer, Seen, Step};

/// How many records one page holds; more than they give is not an error.
const PAGE: u32 = 1000;
/// What they take for a record that is there already, exactly so.
const IDENTICAL: u32 = 81058;
/// And for one that is not there.
const GONE: u32 = 81044;
/// How long a challenge's record may be kept by resolvers, in seconds.
const CHALLENGE_TTL: u32 = 60;

/// A zone at Cloudflare.
#[derive(Clone)]
pub struct Cloudflare {
    api: String,
    zone: String,
    token: Zeroizing<String>,
    http: Http,
    /// What they call it, once asked.
    id: Arc<OnceCell<String>>,
}

impl fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cloudflare({})", self.zone)
    }
}

impl PartialEq for Cloudflare {
    fn eq(&self, other: &Self) -> bool {
        self.api == other.api && self.zone == other.zone && self.token == other.token
    }
}

impl Eq for Cloudflare {}

/// Around every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default)]
    success: bool,
    #[serde(default = "Vec::new")]
    errors: Vec<Fault>,
    #[serde(default = "nothing")]
    result: Option<T>,
    result_info: Option<Paging>,
}

fn nothing<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Paging {
    total_pages: Option<u32>,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    proxied: bool,
    comment: Option<String>,
}

impl Found {
    fn is_ours(&self) -> bool {
        self.comment.as_deref() == Some(MARK)
    }
}

/// A record, in the order in which their libraries write it.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    ttl: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    comment: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxied: Option<bool>,
}

impl<'a> Record<'a> {
    fn cname(id: Option<&'a str>, name: &'a str, to: &'a Pointer) -> Self {
        Self {
            id,
            name,
            ttl: to.ttl,
            kind: "CNAME",
            comment: MARK,
            content: &to.target,
            proxied: Some(to.proxied),
        }
    }
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Changes<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deletes: Vec<Id<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Record<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    posts: Vec<Record<'a>>,
}

/// What became of them: all, or the request failed.
#[derive(Deserialize)]
struct Changed {
    #[serde(default = "Vec::new")]
    posts: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    #[serde(default)]
    name: String,
}

impl Cloudflare {
    /// How many changes their smallest plan takes in one request.
    pub(crate) const AT_ONCE: usize = 200;

    /// A zone by its name, at an API, with a token that may edit its DNS.
    ///
    /// # Errors
    /// When the token can be none.
    pub fn new(api: &str, zone: &str, token: Zeroizing<String>) -> Result<Self, DnsError> {
        Ok(Self {
            api: api.trim_end_matches('/').to_owned(),
            zone: zone.trim_end_matches('.').to_ascii_lowercase(),
            http: Http::new(&token).map_err(DnsError::Unusable)?,
            token,
            id: Arc::new(OnceCell::new()),
        })
    }

    /// See [`crate::Provider::put_txt`].
    pub(crate) async fn put_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        let record = Record {
            id: None,
            name,
            ttl: CHALLENGE_TTL,
            kind: "TXT",
            comment: MARK,
            content: &format!("\"{value}\""),
            proxied: None,
        };
        let made: Result<Option<Made>, _> = self.call(Method::POST, &self.records("").await?, Some(&record)).await;
        made.map(drop).or_else(|fault| fault.unless(IDENTICAL))
    }

    /// See [`crate::Provider::remove_txt`].
    pub(crate) async fn remove_txt(&self, name: &str, value: &str) -> Result<(), DnsError> {
        let asked = format!("?name.exact={name}&per_page={PAGE}&type=TXT");
        for record in self.list(&asked).await? {
            if record.is_ours() && record.content.trim_matches('"') == value {
                self.delete(&record.id).await?;
            }
        }
        Ok(())
    }

    /// See [`crate::Provider::observe`].
    pub(crate) async fn observe(&self, domain: &str) -> Result<Seen, DnsError> {
        let mut seen = Seen::default();
        for record in self.list(&format!("?name.endswith=.{domain}&per_page={PAGE}")).await? {
            let name = record.name.to_ascii_lowercase();
            if record.kind == "CNAME" && record.is_ours() {
                let pointer = Pointer {
                    target: record.content.trim_end_matches('.').to_ascii_lowercase(),
                    ttl: record.ttl,
                    proxied: record.proxied,
                };
                let own = Own {
                    id: record.id,
                    pointer: Some(pointer),
                };
                seen.own.insert(name, own);
            } else {
                seen.taken.insert(name);
            }
        }
        Ok(seen)
    }

    /// See [`crate::Provider::apply`]: one step as one request, several as one batch.
    pub(crate) async fn apply(&self, steps: &[Step], seen: &mut Seen) -> Result<(), DnsError> {
        let ids = match steps {
            [step] => self.one(step).await?.into_iter().collect(),
            _ => self.batch(steps).await?,
        };
        let mut made = ids.into_iter();
        for step in steps {
            let id = match step {
                Step::Create { .. } => made.next(),
                Step::Change { from, .. } => Some(from.id.clone()),
                Step::Remove { .. } => None,
            };
            match (step.to(), id) {
                (Some(to), Some(id)) => {
                    let pointer = Some(to.clone());
                    seen.own.insert(step.name().to_owned(), Own { id, pointer });
                }
                _ => {
                    seen.own.remove(step.name());
                }
            }
        }
        Ok(())
    }

    async fn one(&self, step: &Step) -> Result<Option<String>, DnsError> {
        match step {
            Step::Create { name, to } => {
                let record = Record::cname(None, name, to);
                let made: Option<Made> = self
                    .call(Method::POST, &self.records("").await?, Some(&record))
                    .await
                    .map_err(Failure::into_error)?;
                Ok(Some(made.ok_or_else(|| self.away("no record in the answer"))?.id))
            }
            Step::Change { name, from, to } => {
                let record = Record::cname(None, name, to);
                let at = self.records(&format!("/{}", from.id)).await?;
                let _: Option<Made> = self
                    .call(Method::PATCH, &at, Some(&record))
                    .await
                    .map_err(Failure::into_error)?;
                Ok(None)
            }
            Step::Remove { from, .. } => self.delete(&from.id).await.map(|()| None),
        }
    }

    /// Their batch is one transaction: deletes, then patches, then posts.
    async fn batch(&self, steps: &[Step]) -> Result<Vec<String>, DnsError> {
        let mut changes = Changes {
            deletes: Vec::new(),
            patches: Vec::new(),
            posts: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Create { name, to } => changes.posts.push(Record::cname(None, name, to)),
                Step::Change { name, from, to } => changes.patches.push(Record::cname(Some(&from.id), name, to)),
                Step::Remove { from, .. } => changes.deletes.push(Id { id: &from.id }),
            }
        }
        let at = self.records("/batch").await?;
        let done: Option<Changed> = self
            .call(Method::POST, &at, Some(&changes))
            .await
            .map_err(Failure::into_error)?;
        let posts = done.map(|done| done.posts).unwrap_or_default();
        let wrong = posts.len() != changes.posts.len()
            || posts
                .iter()
                .zip(&changes.posts)
                .any(|(made, asked)| !made.name.eq_ignore_ascii_case(asked.name));
        match wrong {
            true => Err(self.away("other records in the answer than asked for")),
            false => Ok(posts.into_iter().map(|made| made.id).collect()),
        }
    }

    async fn delete(&self, id: &str) -> Result<(), DnsError> {
        let at = self.records(&format!("/{id}")).await?;
        let gone: Result<Option<serde_json::Value>, _> = self.call(Method::DELETE, &at, None::<&()>).await;
        gone.map(drop).or_else(|fault| fault.unless(GONE))
    }

    /// All pages of a list of records.
    async fn list(&self, asked: &str) -> Result<Vec<Found>, DnsError> {
        let at = self.records(asked).await?;
        let mut all: Vec<Found> = Vec::new();
        let mut known = BTreeSet::new();
        for page in 1.. {
            let at = match page {
                1 => at.clone(),
                // Their libraries sort what they ask by name.
                _ => at.replace("&per_page", &format!("&page={page}&per_page")),
            };
            let (found, paging) = self
                .ask::<Vec<Found>>(Method::GET, &at, None::<&()>)
                .await
                .map_err(Failure::into_error)?;
            let found = found.ok_or_else(|| self.away("no records in the answer"))?;
            let none = found.is_empty();
            // A record that came or went while pages are turned moves others to the next one.
            all.extend(found.into_iter().filter(|it| known.insert(it.id.clone())));
            let last = paging.and_then(|it| it.total_pages).is_some_and(|last| page >= last);
            if none || last {
                break;
            }
        }
        Ok(all)
    }

    async fn records(&self, rest: &str) -> Result<String, DnsError> {
        let id = self
            .id
            .get_or_try_init(|| async {
                let at = format!("{}/zones?name={}", self.api, self.zone);
                let zones: Option<Vec<Zone>> = self
                    .call(Method::GET, &at, None::<&()>)
                    .await
                    .map_err(Failure::into_error)?;
                let zone = zones.unwrap_or_default().into_iter().next();
                zone.map(|zone| zone.id).ok_or_else(|| DnsError::Refused {
                    server: self.server(),
                    why: format!("no zone {} for this token (dns.zone)", self.zone),
                })
            })
            .await?;
        Ok(format!("{}/zones/{id}/dns_records{rest}", self.api))
    }

    async fn call<T>(&self, method: Method, at: &str, body: Option<&impl Serialize>) -> Result<Option<T>, Failure>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.ask(method, at, body).await.map(|(result, _)| result)
    }

    async fn ask<T>(
        &self,
        method: Method,
        at: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(Option<T>, Option<Paging>), Failure>
    where
        T: for<'de> Deserialize<'de>,
    {
        let fail = |error: DnsError| Failure {
            codes: Vec::new(),
            error,
        };
        let uri: Uri = at.parse().map_err(|_| fail(DnsError::Name(at.to_owned())))?;
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|error| fail(DnsError::Unusable(error.to_string())))?;
        let answer = self.http.send(method, uri, body).await;
        let answer = answer.map_err(|error| fail(self.away(&root(&error))))?;
        let read: Result<Envelope<T>, _> = serde_json::from_slice(&answer.body);
        let faults = |found: &[Fault]| {
            let told: Vec<String> = found.iter().map(|it| format!("{} ({})", it.message, it.code)).collect();
            match told.is_empty() {
                true => answer.status.to_string(),
                false => told.join("; "),
            }
        };
        let said = match &read {
            Ok(envelope) => faults(&envelope.errors),
            Err(_) => answer.status.to_string(),
        };
        let codes = match &read {
            Ok(envelope) => envelope.errors.iter().map(|it| it.code).collect(),
            Err(_) => Vec::new(),
        };
        let server = self.server();
        let error = match (answer.status, read) {
            (status, Ok(envelope)) if status.is_success() && envelope.success => {
                return Ok((envelope.result, envelope.result_info));
            }
            (status, _) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => DnsError::Later {
                server,
                why: said,
                wait: answer.wait,
            },
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => DnsError::Key(format!(
                "{server} does not take the token: {said} (dns.token; it must be one that may edit the DNS of {})",
                self.zone
            )),
            (status, Err(error)) if status.is_success() => DnsError::Away {
                server,
                why: format!("an answer that is not theirs: {error}"),
            },
            _ => DnsError::Refused { server, why: said },
        };
        Err(Failure { codes, error })
    }

    fn server(&self) -> String {
        let host = self.api.parse::<Uri>().ok();
        host.and_then(|uri| uri.authority().map(ToString::to_string))
            .unwrap_or_else(|| self.api.clone())
    }

    fn away(&self, why: &str) -> DnsError {
        DnsError::Away {
            server: self.server(),
            why: why.to_owned(),
        }
    }
}

/// What went wrong, and by which of their numbers.
struct Failure {
    codes: Vec<u32>,
    error: DnsError,
}

impl Failure {
    fn into_error(self) -> DnsError {
        self.error
    }

    /// All is well when it is this.
    fn unless(self, code: u32) -> Result<(), DnsError> {
        match self.codes.contains(&code) {
            true => Ok(()),
            false => Err(self.error),
        }
    }
}

/// What lies under an error of a client: "connection refused", not "client error (Connect)".
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
