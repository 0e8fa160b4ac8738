//! `/pods/{pod}/policy`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Key, NetworkPolicy, Object};

use super::body::Body;
use super::caller::Caller;
use super::path::At;
use super::problem::Problem;
use super::tag::{IfMatch, put as write_put, tagged};
use super::{Api, schema};

/// What a pod's network lets through. A pod without a policy has its node's defaults, and
/// answers 404.
#[utoipa::path(get, path = "/pods/{pod}/policy", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    responses((status = 200, description = "The policy", body = schema::NetworkPolicy)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, At(pod): At<String>) -> Result<Response, Problem> {
    let found = api.pod(&caller, &pod).await?;
    let policy = api.store.policy(found.id).await?;
    let policy = policy.ok_or_else(|| Problem::not_found("policy of pod", pod))?;
    Ok(tagged(policy.revision, policy.row))
}

/// Gives a pod a policy in the place of the one that it has. What the policy does not say
/// is as the pod's node has it. Not for a token of the scope `own`, unless it is the policy
/// that the pod has.
#[utoipa::path(put, path = "/pods/{pod}/policy", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    request_body = schema::NetworkPolicy,
    responses((status = 200, description = "Set", body = schema::NetworkPolicy),
        (status = 201, description = "Made", body = schema::NetworkPolicy)))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    if_match: IfMatch,
    Body(Object(policy)): Body<Object<NetworkPolicy>>,
) -> Result<Response, Problem> {
    let id = api.pod(&caller, &pod).await?.id;
    let there = api.store.policy(id).await?;
    // Clients say it again and again: what changes nothing is not written.
    if let Some(same) = there.as_ref().filter(|there| there.row == policy) {
        if_match.check(Some(same.revision))?;
        return Ok(tagged(same.revision, policy));
    }
    caller.sets_policies()?;
    let key = there.map(|_| Key::Policy(id));
    let batch = api.begin(&caller, &if_match, key.as_ref()).await?;
    let is_new = batch.put_policy(id, &policy).await?;
    let revision = batch.commit().await?;
    Ok(write_put(&format!("pods/{id}/policy"), is_new, revision, policy))
}

/// Takes a pod's policy away: it has its node's defaults again. A second time there is none
/// to take, which is a 404. Not for a token of the scope `own`.
#[utoipa::path(delete, path = "/pods/{pod}/policy", tag = "pods",
    params(("pod" = String, Path, description = "Id, or owner%2Fname")),
    responses((status = 204, description = "Gone"), (status = 412)))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(pod): At<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = api.pod(&caller, &pod).await?.id;
    caller.sets_policies()?;
    let batch = api.begin(&caller, &if_match, Some(&Key::Policy(id))).await?;
    batch.delete_policy(id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
