//! `/sessions/{user}`: what a user's tokens open.

use axum::extract::State;
use http::StatusCode;

use super::Api;
use super::caller::Caller;
use super::path::At;
use super::problem::Problem;
use super::tag::IfMatch;

/// Ends all sessions of a user: tokens issued before now are refused everywhere. Where
/// there is none it is done, too.
#[utoipa::path(delete, path = "/sessions/{user}", tag = "tokens", params(("user" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Ended")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    At(user): At<String>,
) -> Result<StatusCode, Problem> {
    let user = api.user(&user).await?;
    let batch = api.begin(&caller, &IfMatch::NONE, None).await?;
    batch.end_sessions(user.id).await?;
    batch.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
