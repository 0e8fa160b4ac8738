//! `/keys`: what private keys in the store are sealed by.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use model::Sealed;
use serde::Serialize;
use store::Batch;
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use super::tag::IfMatch;
use crate::{Keys, Owner};

#[derive(Serialize, ToSchema)]
#[schema(as = Rotated)]
pub(super) struct Rotated {
    /// The key that wraps all of them now.
    newest: u32,
    /// How many another one had wrapped.
    rewrapped: usize,
}

/// Has the newest of `tls.sealing_keys` wrap what older ones did, so that they can go. What is
/// sealed stays as it is.
#[utoipa::path(post, path = "/keys/rotate", tag = "keys",
    responses((status = 200, description = "Done", body = Rotated),
        (status = 409, description = "Nothing is sealed, or a key is missing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(State(api): State<Api>, caller: Caller) -> Result<Json<Rotated>, Problem> {
    let why = "Nothing is sealed here: neither `[acme]` nor `tls.sealing_keys` is configured.";
    let keys = api.settings.keys.as_ref().ok_or_else(|| Problem::conflict(why))?;
    let mut rewrapped = 0;
    loop {
        let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
        let some = rewrap(keys, &batch).await?;
        if some == 0 {
            break;
        }
        batch.commit().await?;
        rewrapped += some;
    }
    Ok(Json(Rotated {
        newest: keys.newest(),
        rewrapped,
    }))
}

/// Some of them; none when all are done.
async fn rewrap(keys: &Arc<dyn Keys>, batch: &Batch) -> Result<usize, Problem> {
    let newest = keys.newest();
    let again = |owner: Owner<'_>, sealed: &mut Sealed| {
        if let Some(new) = keys.rewrap(owner, sealed).map_err(Problem::conflict)? {
            *sealed = new;
        }
        Ok::<_, Problem>(())
    };
    let mut done = 0;
    for mut it in batch.certificates_not_by(newest).await? {
        again(Owner::Certificate(&it.name), &mut it.key)?;
        batch.put_certificate(&it).await?;
        done += 1;
    }
    for mut it in batch.orders_not_by(newest).await? {
        if let Some(key) = &mut it.key {
            again(Owner::Order(&it.name), key)?;
        }
        batch.put_order(&it).await?;
        done += 1;
    }
    for mut it in batch.accounts_not_by(newest).await? {
        again(Owner::Account(&it.directory), &mut it.key)?;
        batch.put_account(&it).await?;
        done += 1;
    }
    Ok(done)
}
