//! Things by the names that people type, and ids as the names people know.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::{Name, PodId};
use serde_json::Value;

use super::api::{Api, segment};
use super::failure::is_not_found;
use super::output::text;

/// Requests under way at a time.
pub(super) const AT_ONCE: usize = 8;
/// So many are asked for one by one; to name more, the list is read.
const FEW: usize = 16;

/// A user, team or node: by name or by id, which never look alike.
#[derive(Debug, Clone)]
pub(crate) struct Ref(String);

impl Ref {
    /// As a segment of a path.
    pub(super) fn path(&self) -> String {
        segment(&self.0)
    }

    /// As it was typed.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Ref {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse::<PodId>().is_err() {
            text.parse::<Name>().map_err(|error| error.to_string())?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// A pod: `john/myproject`, or its id.
#[derive(Debug, Clone)]
pub(crate) struct PodRef(String);

impl PodRef {
    /// `pods/john%2Fmyproject`.
    pub(super) fn path(&self) -> String {
        format!("pods/{}", segment(&self.0))
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PodRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a pod: write OWNER/POD, as in john/myproject, or its id");
        match text.split_once('/') {
            Some((owner, name)) => {
                owner.parse::<Ref>().map_err(|error| format!("{}: {error}", wanted()))?;
                name.parse::<Name>().map_err(|error| format!("{}: {error}", wanted()))?;
            }
            None => {
                text.parse::<PodId>().map_err(|_| wanted())?;
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// A pod that has no id yet: `john/myproject`.
#[derive(Debug, Clone)]
pub(crate) struct NewPodRef {
    pub(super) owner: Ref,
    pub(super) name: Name,
}

impl fmt::Display for NewPodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for NewPodRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (owner, name) = text
            .split_once('/')
            .ok_or_else(|| format!("`{text}` is not OWNER/POD, as in john/myproject"))?;
        Ok(Self {
            owner: owner.parse()?,
            name: name.parse().map_err(|error: model::NameError| error.to_string())?,
        })
    }
}

/// A service: `john/myproject/app`, or the pod's id and the service's name.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRef {
    pub(super) pod: PodRef,
    pub(super) name: Name,
}

impl ServiceRef {
    /// `pods/john%2Fmyproject/services/app`.
    pub(super) fn path(&self) -> String {
        format!("{}/services/{}", self.pod.path(), self.name.as_str())
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.name)
    }
}

impl FromStr for ServiceRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a service: write OWNER/POD/SERVICE, as in john/myproject/app");
        let (pod, name) = text.rsplit_once('/').ok_or_else(wanted)?;
        Ok(Self {
            pod: pod.parse().map_err(|_| wanted())?,
            name: name.parse().map_err(|error: model::NameError| error.to_string())?,
        })
    }
}

/// The pods behind the ids that lists of services name.
#[derive(Debug, Default)]
pub(super) struct PodNames(HashMap<String, String>);

impl PodNames {
    /// Asks for the pods of these services.
    pub(super) async fn of_services(api: &Api, services: &[Value]) -> anyhow::Result<Self> {
        let ids: HashSet<&str> = services.iter().filter_map(|service| service["pod"].as_str()).collect();
        let pods = if ids.len() > FEW {
            api.list("pods").await?
        } else {
            let found = stream::iter(ids).map(async |id| match api.get(&format!("pods/{}", segment(id))).await {
                Ok(pod) => Ok(Some(pod)),
                // Removed since its services were listed: its id will do.
                Err(error) if is_not_found(&error) => Ok(None),
                Err(error) => Err(error),
            });
            let found = found.buffer_unordered(AT_ONCE);
            found.try_filter_map(async |pod| Ok(pod)).try_collect().await?
        };
        let named = pods.iter().map(|pod| (text(&pod["id"]), pod_name(pod)));
        Ok(Self(named.collect()))
    }

    /// A service as people type it.
    pub(super) fn service(&self, service: &Value) -> String {
        let id = text(&service["pod"]);
        format!("{}/{}", self.0.get(&id).unwrap_or(&id), text(&service["name"]))
    }
}

/// A pod as people type it.
pub(super) fn pod_name(pod: &Value) -> String {
    format!("{}/{}", named(pod, "owner"), text(&pod["name"]))
}

/// What a field's id stands for, which the API tells beside it; the id itself when that
/// is gone.
pub(super) fn named(item: &Value, field: &str) -> String {
    match &item[format!("{field}_name")] {
        Value::Null => text(&item[field]),
        name => text(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_and_services_as_people_type_them() {
        let pod: PodRef = "john/myproject".parse().expect("a pod");
        assert_eq!(pod.path(), "pods/john%2Fmyproject");
        let id = "01930000-0000-7000-8000-000000000000";
        assert_eq!(id.parse::<PodRef>().expect("an id").path(), format!("pods/{id}"));
        let service: ServiceRef = "john/myproject/app".parse().expect("a service");
        assert_eq!(service.path(), "pods/john%2Fmyproject/services/app");
        let by_id: ServiceRef = format!("{id}/app").parse().expect("a service");
        assert_eq!(by_id.path(), format!("pods/{id}/services/app"));
        for bad in [
            "",
            "john",
            "john/",
            "/x",
            "john/a/b",
            "john/../x",
            "John/x",
            "john/x%2f",
        ] {
            assert!(bad.parse::<PodRef>().is_err(), "{bad}");
        }
        for bad in ["app", "john/app", "john/x/y/z", "john/x/", "john/x/.."] {
            assert!(bad.parse::<ServiceRef>().is_err(), "{bad}");
        }
    }
}
