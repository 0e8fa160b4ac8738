//! Who asks, what it may resolve, and who opens the way to what it resolved.

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{DomainRule, PodId, Ports};

/// A pod that asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Which one.
    pub pod: PodId,
    /// The names it may resolve, and the ports that they open. `None` for any name, and
    /// then nothing needs to be opened.
    pub rules: Option<Arc<[DomainRule]>>,
    /// Networks inside that it may reach whatever their names: names may lead there.
    pub private: Arc<[IpNet]>,
}

impl Asker {
    /// Whether it may resolve a name (lower-case, no dot at the end), and which ports that
    /// opens; `None` when no rule has the name.
    pub(super) fn ports(&self, name: &str) -> Option<Vec<Ports>> {
        let Some(rules) = &self.rules else {
            return Some(Vec::new());
        };
        // An escape: the label holds a dot or another byte that no host's name has, and the
        // text would read as more labels than there are.
        if name.contains('\\') {
            return None;
        }
        let mut ports: Vec<Ports> = Vec::new();
        for rule in rules.iter().filter(|rule| rule.pattern.matches(name)) {
            if !ports.contains(&rule.ports) {
                ports.push(rule.ports.clone());
            }
        }
        (!ports.is_empty()).then_some(ports)
    }

    /// Whether only some names are open to it.
    pub(super) fn is_restricted(&self) -> bool {
        self.rules.is_some()
    }
}

/// The pods of this node by address.
pub trait Pods: Send + Sync + 'static {
    /// Whose address this is, at this moment; `None` when it is nobody's. Called for every
    /// packet: constant time, no lock that anybody holds for long.
    fn asker(&self, source: IpAddr) -> Option<Asker>;
}

impl<T: Pods> Pods for Arc<T> {
    fn asker(&self, source: IpAddr) -> Option<Asker> {
        (**self).asker(source)
    }
}

/// Addresses could not be opened to a pod.
#[derive(Debug, thiserror::Error)]
#[error("open addresses to a pod: {0}")]
pub struct AdmitError(#[source] Box<dyn Error + Send + Sync>);

impl AdmitError {
    /// Because of this.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Opens the way to what a restricted pod resolved.
pub trait Admit: Send + Sync + 'static {
    /// Lets the pod reach every address, on the ports of any of `ports` (which is never
    /// empty), for at least the duration beside it, counted from now; an address that is
    /// open already stays open for no less than that. When the future is done it holds: the
    /// pod is told right after. An address may be of a family that the pod does not have.
    fn admit(
        &self,
        asker: &Asker,
        ports: &[Ports],
        addresses: &[(IpAddr, Duration)],
    ) -> impl Future<Output = Result<(), AdmitError>> + Send;
}

impl<T: Admit> Admit for Arc<T> {
    fn admit(
        &self,
        asker: &Asker,
        ports: &[Ports],
        addresses: &[(IpAddr, Duration)],
    ) -> impl Future<Output = Result<(), AdmitError>> + Send {
        (**self).admit(asker, ports, addresses)
    }
}
