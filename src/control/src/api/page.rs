//! Lists: `?limit=&after=` in, `{items, next}` out.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::Page;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

const USUAL: u16 = 100;
const MOST: u16 = 1000;

/// Which part of a list is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// So many at most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Which part of a list is asked for, checked.
pub(super) struct Part<K> {
    /// What comes after this.
    pub(super) after: Option<K>,
    /// So many at most.
    pub(super) limit: u16,
}

impl<K: FromStr> Part<K> {
    /// Checks what a query says.
    pub(super) fn of(limit: Option<u16>, after: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::invalid("limit", format!("`{limit}` is not from 1 to {MOST}.")));
        }
        let after = after.map(str::parse).transpose();
        Ok(Self {
            after: after.map_err(|_| Problem::invalid("after", "This is not the `next` of a page."))?,
            limit,
        })
    }
}

impl<K: Ord + Copy> Part<K> {
    /// The part of a list that is all there, in the order of its key.
    pub(super) fn of_all<T>(&self, all: Vec<T>, key: impl Fn(&T) -> K) -> Page<T, K> {
        let mut rest = all
            .into_iter()
            .filter(|item| self.after.is_none_or(|after| key(item) > after));
        let items: Vec<T> = rest.by_ref().take(self.limit.into()).collect();
        let next = rest.next().and_then(|_| items.last().map(key));
        Page { items, next }
    }
}

impl<K: FromStr, S: Send + Sync> FromRequestParts<S> for Part<K> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked: Asked = query(&parts.uri)?;
        Self::of(asked.limit, asked.after.as_deref())
    }
}

/// What a query says. What nobody knows is refused: a filter that is misspelt would
/// answer everything.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let Query(asked) = Query::try_from_uri(uri).map_err(|error| Problem::malformed(format!("{error}.")))?;
    Ok(asked)
}

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    items: Vec<T>,
    /// The `after` of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Writes a page down.
pub(super) fn list<R, K: Display, T: Serialize>(page: Page<R, K>, write: impl Fn(R) -> T) -> axum::Json<List<T>> {
    axum::Json(List {
        items: page.items.into_iter().map(write).collect(),
        next: page.next.map(|key| key.to_string()),
    })
}
