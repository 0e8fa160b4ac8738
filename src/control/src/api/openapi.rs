//! The OpenAPI document: what the handlers say of themselves, and what is so for all
//! of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder,
    SecurityRequirement, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;

/// The schemas whose answers carry an ETag.
const TAGGED: [&str; 8] = [
    "User",
    "Team",
    "Member",
    "Node",
    "Pod",
    "Service",
    "Share",
    "NetworkPolicy",
];
const BEARER: &str = "bearer";

/// The document before any path is in it.
pub(super) fn empty() -> OpenApi {
    let info = InfoBuilder::new()
        .title("podgate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What podgate's edges serve: users and teams, nodes, pods, their services and networks, and who may enter. \
             Errors are problems (RFC 9457) that name the field at fault. Every answer about one thing has an \
             ETag; a write with `If-Match` happens only while the thing is as that ETag says.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .security(Some([SecurityRequirement::new(BEARER, [""; 0])]))
        .build()
}

/// The document, when all paths are in it, at a path to read it at.
pub(super) fn serve(mut document: OpenApi) -> Router {
    let components = document.components.get_or_insert_default();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert(BEARER.to_owned(), scheme.into());
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (&mut item.get, false),
            (&mut item.post, false),
            (&mut item.put, true),
            (&mut item.patch, true),
            (&mut item.delete, true),
        ];
        for (operation, changes) in operations {
            if let Some(operation) = operation {
                name(operation, path);
                complete(operation, changes);
            }
        }
    }
    let methods = get(read).fallback(|| async { Problem::method_not_allowed() });
    Router::new()
        .route("/api/v1/openapi.json", methods)
        .with_state(Arc::new(document))
}

async fn read(State(document): State<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(OpenApi::clone(&document))
}

/// Names an operation by its handler and resource: `list_users`.
fn name(operation: &mut Operation, path: &str) {
    let resource = path.rsplit('/').find(|part| !part.starts_with('{')).unwrap_or_default();
    let handler = operation.operation_id.as_deref().unwrap_or_default();
    operation.operation_id = Some(format!("{handler}_{}", resource.replace('-', "_")));
}

/// Adds to an operation what is so for all of its kind.
fn complete(operation: &mut Operation, changes: bool) {
    let is_tagged = tag(operation);
    // A session or an API token is no row that anybody reads first.
    let conditional = changes && (is_tagged || operation.responses.responses.contains_key("412"));
    if conditional {
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("ETags of which one must be that of the thing now, or `*`"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
            .build();
        operation.parameters.get_or_insert_default().push(header.into());
    }
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let has = |place: &ParameterIn| {
        let is_there = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(it) if it.parameter_in == *place);
        parameters.iter().any(is_there)
    };
    let mut problems = BTreeMap::from([
        (StatusCode::UNAUTHORIZED, "Without a token that is good"),
        (StatusCode::FORBIDDEN, "The token is not for this"),
        (StatusCode::INTERNAL_SERVER_ERROR, "podgate failed; its log says why"),
        (StatusCode::SERVICE_UNAVAILABLE, "The store cannot be reached"),
    ]);
    if has(&ParameterIn::Path) {
        problems.insert(StatusCode::BAD_REQUEST, "The request is malformed");
        problems.insert(StatusCode::NOT_FOUND, "There is no such thing");
    }
    if has(&ParameterIn::Query) {
        problems.insert(StatusCode::BAD_REQUEST, "The request is malformed");
        problems.insert(StatusCode::UNPROCESSABLE_ENTITY, "A field does not hold what it should");
    }
    if conditional {
        problems.insert(StatusCode::PRECONDITION_FAILED, "It is not as `If-Match` says");
    }
    if operation.request_body.is_some() {
        problems.insert(StatusCode::BAD_REQUEST, "The request is malformed");
        problems.insert(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
        problems.insert(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is not declared to be JSON",
        );
        problems.insert(StatusCode::UNPROCESSABLE_ENTITY, "A field does not hold what it should");
        problems.insert(StatusCode::CONFLICT, "A name is taken");
    }
    for (status, description) in problems {
        let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem)
            .build();
        operation
            .responses
            .responses
            .insert(status.as_str().to_owned(), response.into());
    }
}

/// Adds the ETag to answers about one thing; whether there is one.
fn tag(operation: &mut Operation) -> bool {
    let mut any = false;
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let about = match response.content.get("application/json") {
            Some(RefOr::T(content)) => match &content.schema {
                Some(RefOr::Ref(schema)) => schema.ref_location.rsplit('/').next(),
                _ => None,
            },
            _ => None,
        };
        if about.is_some_and(|schema| TAGGED.contains(&schema)) {
            let header = HeaderBuilder::new()
                .schema(Some(
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .pattern(Some("^\"[0-9]+\"$")),
                ))
                .description(Some("The thing's last write"))
                .build();
            response.headers.insert("ETag".to_owned(), header.into());
            any = true;
        }
    }
    any
}
