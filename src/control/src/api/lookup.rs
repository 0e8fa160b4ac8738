//! Finding what a path or a body names: by id or by name, which never look alike.

use model::{CertName, Name, Node, Pod, Service, Team, User};
use store::Stamped;

use super::Api;
use super::caller::Caller;
use super::problem::Problem;

macro_rules! found_by_id_or_name {
    ($($find:ident $get:ident $get_in:ident: $what:literal $type:ident = $by_id:ident $by_name:ident;)*) => {
        impl Api {$(
            #[doc = concat!("The ", $what, " of this id or name, if there is one.")]
            pub(super) async fn $find(&self, text: &str) -> Result<Option<Stamped<$type>>, Problem> {
                Ok(match (text.parse(), text.parse::<Name>()) {
                    (Ok(id), _) => self.store.$by_id(id).await?,
                    (_, Ok(name)) => self.store.$by_name(&name).await?,
                    _ => None,
                })
            }

            #[doc = concat!("The ", $what, " that a path names.")]
            pub(super) async fn $get(&self, text: &str) -> Result<Stamped<$type>, Problem> {
                self.$find(text)
                    .await?
                    .ok_or_else(|| Problem::not_found($what, text))
            }

            #[doc = concat!("The ", $what, " that a field of a request names.")]
            pub(super) async fn $get_in(&self, field: &str, text: &str) -> Result<Stamped<$type>, Problem> {
                self.$find(text)
                    .await?
                    .ok_or_else(|| Problem::invalid(field, format!(concat!("There is no ", $what, " `{}`."), text)))
            }
        )*}
    };
}

found_by_id_or_name! {
    find_user user user_in: "user" User = user user_named;
    find_team team team_in: "team" Team = team team_named;
    find_node node node_in: "node" Node = node node_named;
}

impl Api {
    /// The pod that a path names, by its id or as `owner/name` with the slash escaped,
    /// and that the caller may touch.
    pub(super) async fn pod(&self, caller: &Caller, text: &str) -> Result<Stamped<Pod>, Problem> {
        let found = match text.split_once('/') {
            Some((owner, name)) => {
                let owner = self.find_user(owner).await?;
                // Before its pod is looked for: whether there is one is not told either.
                caller.owns(owner.as_ref().map(|owner| owner.id))?;
                match (owner, name.parse()) {
                    (Some(owner), Ok(name)) => self.store.pod_named(owner.id, &name).await?,
                    _ => None,
                }
            }
            None => match text.parse() {
                Ok(id) => self.store.pod(id).await?,
                Err(_) => None,
            },
        };
        let found = found.ok_or_else(|| Problem::not_found("pod", text))?;
        caller.owns(Some(found.owner))?;
        Ok(found)
    }

    /// The service that a field of a request names, as `owner/pod/service` or by its pod's id,
    /// and that the caller may touch.
    pub(super) async fn service_in(&self, caller: &Caller, field: &str, text: &str) -> Result<Service, Problem> {
        let Some((pod, service)) = text.rsplit_once('/') else {
            let why = format!("`{text}` is not a service: write OWNER/POD/SERVICE, as in john/myproject/app.");
            return Err(Problem::invalid(field, why));
        };
        let none = || Problem::invalid(field, format!("There is no service `{text}`."));
        let pod = self
            .pod(caller, pod)
            .await
            .map_err(|problem| if problem.is_not_found() { none() } else { problem })?;
        let service = service.parse::<Name>().map_err(|_| none())?;
        let found = self.store.service(pod.id, &service).await?;
        Ok(found.ok_or_else(none)?.row)
    }

    /// The service that a host leads to, and the host as edges know it: one under the domain, or
    /// a custom domain that is verified.
    pub(super) async fn service_of_host(&self, host: &str) -> Result<Option<(Service, String)>, Problem> {
        let (label, host) = match self.settings.label(host) {
            Some(label) => {
                let host = self.settings.host(&label);
                (label, host)
            }
            None => {
                let name = host.parse::<CertName>().ok();
                let Some(name) = name.filter(|name| name.wildcard().is_none()) else {
                    return Ok(None);
                };
                match self.store.verified(&name).await? {
                    Some(domain) => (domain.host, name.to_string()),
                    None => return Ok(None),
                }
            }
        };
        let found = self.store.service_at(&label).await?;
        Ok(found.map(|service| (service.row, host)))
    }
}

/// A part of a path that can only be a name.
pub(super) fn name(what: &str, text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|_| Problem::not_found(what, text))
}

/// Refuses a body that gives what its path names another name.
pub(super) fn same_name(is: &Name, given: Option<&Name>) -> Result<(), Problem> {
    match given {
        Some(given) if given != is => Err(Problem::invalid("name", format!("The path says `{is}`."))),
        _ => Ok(()),
    }
}

/// The name in a path of what is not there yet. An id names nothing new.
pub(super) fn new_name(what: &str, text: &str, given: Option<&Name>) -> Result<Name, Problem> {
    let is = name(what, text)?;
    same_name(&is, given)?;
    Ok(is)
}
