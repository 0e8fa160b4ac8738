//! Finding what a path or a body names: by id or by name, which never look alike.

use model::{Name, Node, Pod, Team, User};

use super::Api;
use super::problem::Problem;

impl Api {
    async fn find_user(&self, text: &str) -> Result<Option<User>, Problem> {
        Ok(match (text.parse(), text.parse::<Name>()) {
            (Ok(id), _) => self.store.user(id).await?,
            (_, Ok(name)) => self.store.user_named(&name).await?,
            _ => None,
        })
    }

    async fn find_team(&self, text: &str) -> Result<Option<Team>, Problem> {
        Ok(match (text.parse(), text.parse::<Name>()) {
            (Ok(id), _) => self.store.team(id).await?,
            (_, Ok(name)) => self.store.team_named(&name).await?,
            _ => None,
        })
    }

    /// The user that a path names.
    pub(super) async fn user(&self, text: &str) -> Result<User, Problem> {
        self.find_user(text)
            .await?
            .ok_or_else(|| Problem::not_found("user", text))
    }

    /// The user that a field of a body names.
    pub(super) async fn user_in(&self, field: &str, text: &str) -> Result<User, Problem> {
        self.find_user(text)
            .await?
            .ok_or_else(|| Problem::invalid(field, format!("There is no user `{text}`.")))
    }

    /// The team that a path names.
    pub(super) async fn team(&self, text: &str) -> Result<Team, Problem> {
        self.find_team(text)
            .await?
            .ok_or_else(|| Problem::not_found("team", text))
    }

    /// The team that a field of a body names.
    pub(super) async fn team_in(&self, field: &str, text: &str) -> Result<Team, Problem> {
        self.find_team(text)
            .await?
            .ok_or_else(|| Problem::invalid(field, format!("There is no team `{text}`.")))
    }

    /// The node that a field of a body names.
    pub(super) async fn node_in(&self, field: &str, text: &str) -> Result<Node, Problem> {
        let found = match (text.parse(), text.parse::<Name>()) {
            (Ok(id), _) => self.store.node(id).await?,
            (_, Ok(name)) => self.store.node_named(&name).await?,
            _ => None,
        };
        found.ok_or_else(|| Problem::invalid(field, format!("There is no node `{text}`.")))
    }

    /// The pod that a path names: its id, or `owner/name` with the slash escaped.
    pub(super) async fn pod(&self, text: &str) -> Result<Pod, Problem> {
        let found = match text.split_once('/') {
            Some((owner, name)) => match (self.find_user(owner).await?, name.parse()) {
                (Some(owner), Ok(name)) => self.store.pod_named(owner.id, &name).await?,
                _ => None,
            },
            None => match text.parse() {
                Ok(id) => self.store.pod(id).await?,
                Err(_) => None,
            },
        };
        found.ok_or_else(|| Problem::not_found("pod", text))
    }
}

/// A part of a path that can only be a name.
pub(super) fn name(what: &str, text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|_| Problem::not_found(what, text))
}
