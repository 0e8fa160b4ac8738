//! Lists: `?limit=&after=` in, `{items, next}` out.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use store::Page;

use super::problem::Problem;

const USUAL: u16 = 100;
const MOST: u16 = 1000;

/// Which part of a list is asked for.
#[derive(Deserialize)]
struct Asked {
    limit: Option<u16>,
    after: Option<String>,
}

/// Which part of a list is asked for, checked.
pub(super) struct Part<K> {
    /// What comes after this.
    pub(super) after: Option<K>,
    /// So many at most.
    pub(super) limit: u16,
}

impl<K: FromStr, S: Send + Sync> FromRequestParts<S> for Part<K> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(asked) =
            Query::<Asked>::try_from_uri(&parts.uri).map_err(|error| Problem::malformed(format!("{error}.")))?;
        let limit = asked.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::invalid("limit", format!("`{limit}` is not from 1 to {MOST}.")));
        }
        let after = asked.after.map(|text| text.parse()).transpose();
        Ok(Self {
            after: after.map_err(|_| Problem::invalid("after", "This is not the `next` of a page."))?,
            limit,
        })
    }
}

/// A part of a list.
#[derive(Serialize)]
pub(super) struct List<T> {
    items: Vec<T>,
    /// The `after` of the next page; null at the end.
    next: Option<String>,
}

/// Writes a page down.
pub(super) fn list<R, K: Display, T: Serialize>(page: Page<R, K>, write: impl Fn(R) -> T) -> axum::Json<List<T>> {
    axum::Json(List {
        items: page.items.into_iter().map(write).collect(),
        next: page.next.map(|key| key.to_string()),
    })
}
