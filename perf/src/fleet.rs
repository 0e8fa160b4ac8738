//! The platform that every bench serves: users, each with one pod and two
//! services, and tokens that open them.
//!
//! All of it follows from its size, so that the edge's store, the auth server that
//! stands in for it elsewhere, and the load generators agree without talking.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use anyhow::Context as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::{Change, Entity, LabelError, Name, NameError, Pod, PodId, PodState, ServiceId, User, UserId, Visibility};
use serde::{Deserialize, Serialize};
use store::Store;

/// The domain of every host.
pub const DOMAIN: &str = "bench.test";
/// Who signs the tokens.
pub const ISSUER: &str = "https://login.bench.test";
/// Whom the tokens are for.
pub const AUDIENCE: &str = "podgate";
/// The key's id, which every token names.
pub const KEY_ID: &str = "bench";
/// The HS256 key. It opens nothing but a bench on loopback.
pub const SECRET: &str = "the-secret-of-a-bench-on-loopback";

/// The pod that each user has.
pub const POD: &str = "myproject";

/// The services of each pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Answers HTTP.
    Api,
    /// Echoes WebSocket messages.
    Echo,
}

impl Service {
    /// Both, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Api, Self::Echo];

    /// Its name in the pod, the first part of its host.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Echo => "echo",
        }
    }

    /// Where it listens inside the pod, if nothing overrides it.
    pub const fn port(self) -> u16 {
        match self {
            Self::Api => 8000,
            Self::Echo => 9000,
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Whose it is: a user's name.
    pub sub: String,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

/// A user's name.
pub fn user(index: usize) -> String {
    format!("u{index:06}")
}

/// The label of a user's service, in the edge's default template.
pub fn label(service: Service, index: usize) -> String {
    format!("{}-{POD}-{}", service.as_str(), user(index))
}

/// The host of a user's service.
pub fn host(service: Service, index: usize) -> String {
    format!("{}.{DOMAIN}", label(service, index))
}

/// What a user's token says that is good until `exp` (seconds since 1970).
pub fn claims(index: usize, exp: u64) -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user(index),
        exp,
    }
}

/// A token of a user's, good until `exp` (seconds since 1970).
///
/// # Errors
/// When signing fails, which it does not with a key of this length.
pub fn token(index: usize, exp: u64) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(KEY_ID.to_owned());
    jsonwebtoken::encode(
        &header,
        &claims(index, exp),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
}

/// The rows of some users, each with one pod, as the store keeps them.
#[derive(Debug, Default)]
pub struct Rows {
    /// The users.
    pub users: Vec<User>,
    /// One pod for each.
    pub pods: Vec<Pod>,
    /// Two services for each, private.
    pub services: Vec<model::Service>,
}

/// A name of ours that the model would not take.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// A user's or pod's or service's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A host's.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// Makes the rows of a range of users. With `targets` (of [`Service::ALL`], in order)
/// services run there, and else at their pod's own address.
///
/// # Errors
/// For an index of over six digits or so, when labels grow too long.
pub fn rows(users: Range<usize>, targets: Option<[SocketAddr; 2]>) -> Result<Rows, RowsError> {
    let pod_name: Name = POD.parse()?;
    let mut rows = Rows::default();
    for index in users {
        let owner = User {
            id: UserId::new(),
            name: user(index).parse()?,
            sessions_from: model::UnixMillis(0),
            limits: None,
        };
        // Within 10.100.0.0/14, and over again beyond: nothing here asks for one twice.
        let host = u32::try_from(index % (1 << 18)).unwrap_or_default();
        let pod = Pod {
            id: PodId::new(),
            owner: owner.id,
            name: pod_name.clone(),
            team: None,
            node: None,
            address: Some(IpAddr::V4(Ipv4Addr::from_bits(0x0A64_0000 + host))),
            address6: None,
            reason: None,
            state: PodState::Ready,
        };
        for (place, service) in Service::ALL.into_iter().enumerate() {
            rows.services.push(model::Service {
                id: ServiceId::new(),
                pod: pod.id,
                name: service.as_str().parse()?,
                host: label(service, index).parse()?,
                port: service.port(),
                visibility: Visibility::Private,
                targets: targets.iter().map(|targets| targets[place]).collect(),
                siblings: false,
                external_port: None,
                limits: None,
            });
        }
        rows.pods.push(pod);
        rows.users.push(owner);
    }
    Ok(rows)
}

impl Rows {
    /// The same as changes of the feed.
    pub fn into_changes(self) -> Vec<Change> {
        let users = self.users.into_iter().map(Entity::User);
        let pods = self.pods.into_iter().map(Entity::Pod);
        let services = self.services.into_iter().map(Entity::Service);
        users.chain(pods).chain(services).map(Change::Put).collect()
    }
}

/// Users written in one statement's reach of memory.
const PIECE: usize = 5_000;

/// Writes a platform of so many users into a store, all of it in one batch; `targets`
/// as for [`rows`].
///
/// # Errors
/// When a name is no good or the store fails.
pub async fn seed(store: &Store, users: usize, targets: Option<[SocketAddr; 2]>) -> anyhow::Result<()> {
    let batch = store.begin().await.context("begin to write")?;
    for first in (0..users).step_by(PIECE) {
        let rows = rows(first..users.min(first + PIECE), targets).context("make rows")?;
        batch.add_users(&rows.users).await.context("add users")?;
        batch.add_pods(&rows.pods).await.context("add pods")?;
        batch.add_services(&rows.services).await.context("add services")?;
    }
    batch.commit().await.context("commit the platform")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_the_default_template_makes() {
        let template = model::HostTemplate::default();
        let rows = rows(7..9, None).expect("good names");
        assert_eq!((rows.users.len(), rows.pods.len(), rows.services.len()), (2, 2, 4));
        for (n, service) in rows.services.iter().enumerate() {
            let user = &rows.users[n / 2].name;
            let rendered = template
                .render(&service.name, &rows.pods[n / 2].name, user)
                .expect("fits");
            assert_eq!(rendered, service.host);
            assert_eq!(service.pod, rows.pods[n / 2].id);
        }
    }
}
