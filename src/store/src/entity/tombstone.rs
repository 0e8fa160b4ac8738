//! Rows of `tombstones`: what was removed, and in which write.

use model::{Key, UnixMillis};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{corrupt, stored};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tombstones")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub removed_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn of(key: &Key, revision: i64, removed_at: UnixMillis) -> Self {
        let (kind, key) = match key {
            Key::User(id) => ("user", id.to_string()),
            Key::Team(id) => ("team", id.to_string()),
            Key::Member(team, user) => ("member", format!("{team}/{user}")),
            Key::Node(id) => ("node", id.to_string()),
            Key::Pod(id) => ("pod", id.to_string()),
            Key::Service(host) => ("service", host.to_string()),
            Key::Share(pod, user) => ("share", format!("{pod}/{user}")),
            Key::IssuerKey(kid) => ("issuer_key", kid.clone()),
            Key::Policy(pod) => ("policy", pod.to_string()),
            Key::Forward(node, at) => ("forward", format!("{node}/{at}")),
            Key::Certificate(name) => ("certificate", name.to_string()),
            Key::Challenge(kind, name, token) => ("challenge", format!("{kind}/{name}/{token}")),
            Key::Domain(name, host) => ("domain", format!("{name}/{host}")),
        };
        Self {
            revision,
            kind: kind.to_owned(),
            key,
            removed_at: removed_at.0,
        }
    }
}

impl TryFrom<Model> for Key {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        const WHAT: &str = "tombstone";
        let pair = || row.key.split_once('/').ok_or_else(|| corrupt(WHAT, &row.key, "no `/`"));
        Ok(match row.kind.as_str() {
            "user" => Self::User(stored(WHAT, &row.key)?),
            "team" => Self::Team(stored(WHAT, &row.key)?),
            "member" => {
                let (team, user) = pair()?;
                Self::Member(stored(WHAT, team)?, stored(WHAT, user)?)
            }
            "node" => Self::Node(stored(WHAT, &row.key)?),
            "pod" => Self::Pod(stored(WHAT, &row.key)?),
            "service" => Self::Service(stored(WHAT, &row.key)?),
            "share" => {
                let (pod, user) = pair()?;
                Self::Share(stored(WHAT, pod)?, stored(WHAT, user)?)
            }
            "issuer_key" => Self::IssuerKey(row.key),
            "forward" => {
                let (node, at) = pair()?;
                Self::Forward(stored(WHAT, node)?, stored(WHAT, at)?)
            }
            "certificate" => Self::Certificate(stored(WHAT, &row.key)?),
            "challenge" => {
                let (kind, rest) = pair()?;
                let (name, token) = rest
                    .split_once('/')
                    .ok_or_else(|| corrupt(WHAT, &row.key, "no token"))?;
                Self::Challenge(stored(WHAT, kind)?, stored(WHAT, name)?, token.to_owned())
            }
            "domain" => {
                let (name, host) = pair()?;
                Self::Domain(stored(WHAT, name)?, stored(WHAT, host)?)
            }
            "policy" => Self::Policy(stored(WHAT, &row.key)?),
            other => return Err(corrupt(WHAT, other, "unknown kind")),
        })
    }
}
