//! The part of `[limits]` that says where edges count together.

use std::fmt;
use std::time::Duration;

use fred::types::config::Config;
use model::config::Section;

use crate::fetch::Client;

/// How to reach Redis, and how patiently.
#[derive(Clone)]
pub struct Options {
    /// `redis`: its URL, with whatever secrets.
    pub(super) url: String,
    /// `redis_ca`: whose certificates it may have, beside the system's authorities'.
    pub(super) trust: Client,
    /// `redis_prefix`: what all keys begin with.
    pub(super) prefix: String,
    /// `redis_timeout`: how long a request waits in exact mode.
    pub(super) timeout: Duration,
    /// `sync`: the time between two exchanges.
    pub(super) sync: Duration,
    /// `edges`: how many there are until Redis has said it.
    pub(super) edges: u32,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: there may be a password in it.
        f.debug_struct("Options")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Reads what concerns the exchange; `None` without `redis`. What is wrong is noted in
    /// the section.
    pub fn read(limits: &mut Section<'_>) -> Option<Self> {
        if !limits.has("redis") {
            for key in ["redis_ca", "redis_prefix", "redis_timeout", "sync", "edges"] {
                if limits.has(key) {
                    limits.problem(key, "means nothing without limits.redis");
                    limits.discard(key);
                }
            }
            return None;
        }
        let url = limits.secret("redis")?;
        let url = String::from_utf8(url).ok().filter(|url| Config::from_url(url).is_ok());
        let Some(url) = url else {
            // Not what it was: there may be a password in it.
            limits.problem(
                "redis",
                "is not the URL of a Redis, such as \"redis://127.0.0.1:6379\", \"rediss://USER:PASSWORD@HOST\", \
                 \"redis-cluster://HOST:6379\" or \
                 \"redis-sentinel://HOST:26379?sentinelServiceName=NAME\"",
            );
            return None;
        };
        let between = |section: &mut Section<'_>, key: &str, default, least, most| {
            let given = section.duration(key).unwrap_or(default);
            if (least..=most).contains(&given) {
                return given;
            }
            let show = humantime::format_duration;
            section.problem(key, format!("must be from {} to {}", show(least), show(most)));
            default
        };
        let millis = Duration::from_millis;
        let prefix: Option<String> = limits.parse("redis_prefix");
        if prefix.as_ref().is_some_and(|prefix| prefix.contains(['{', '}'])) {
            // In a cluster, braces say which keys lie together.
            limits.problem("redis_prefix", "must not hold braces");
        }
        Some(Self {
            url,
            trust: Client::read(limits, "redis_ca"),
            prefix: prefix.unwrap_or_else(|| "podgate:".to_owned()),
            timeout: between(limits, "redis_timeout", millis(20), millis(1), millis(1000)),
            sync: between(limits, "sync", millis(100), millis(10), millis(1000)),
            edges: limits
                .integer("edges", 1, 10_000)
                .and_then(|edges| u32::try_from(edges).ok())
                .unwrap_or(1),
        })
    }

    /// Whether a link made by these serves under others, too.
    pub(super) fn reaches_the_same(&self, other: &Self) -> bool {
        self.url == other.url && self.prefix == other.prefix && self.trust.trusts_the_same(&other.trust)
    }
}
