//! Who and what there is in the demo: john and mary, john's pod, its three services,
//! and a share that lasts an hour.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use control::Issuer;
use model::{HostTemplate, Name, PodId, PodState, Share, UnixMillis, User, UserId, Visibility};
use store::{NewPod, NewService, Store};

use super::DOMAIN;
use super::addresses::Addresses;
use super::network::NODE;
use super::pki::write_secret;
use super::place::Place;

const SHARE: Duration = Duration::from_secs(3600);
const TOKEN: Duration = Duration::from_secs(24 * 3600);
const POD: &str = "myproject";
/// The ports of app, api and code.
pub(super) const PORTS: [u16; 3] = [3000, 8000, 8080];

/// The demo's world, as the store has it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) john: Person,
    pub(super) mary: Person,
    pub(super) pod: Name,
    pub(super) id: PodId,
    pub(super) services: Vec<Service>,
    pub(super) share_until: UnixMillis,
    /// What opens the control API.
    pub(super) admin_token: String,
}

/// Somebody with a token.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) name: Name,
    pub(super) token: String,
}

/// A service with an address on the web.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Name,
    pub(super) visibility: Visibility,
    /// The whole host, without a port.
    pub(super) host: String,
    pub(super) url: String,
    /// Whether john has shared it with mary.
    pub(super) shared: bool,
}

impl World {
    /// Writes it to a store of its own, and the tokens to files that only this user
    /// may read. `targets` are where app, api and code listen; without them they do in the
    /// pod, which is one of this node's then.
    pub(super) async fn make(
        place: &Place,
        addresses: &Addresses,
        targets: Option<[SocketAddr; 3]>,
        now: UnixMillis,
    ) -> anyhow::Result<Self> {
        let store = Store::open(&place.store_url()).await.context("make the demo's store")?;
        let issuer = Issuer::load_or_create(place.dir(), DOMAIN).context("make the demo's issuer")?;
        store
            .put_issuer_key(&issuer.public())
            .await
            .context("publish the issuer's key")?;

        let john = person(&store, &issuer, place, "john", now).await?;
        let mary = person(&store, &issuer, place, "mary", now).await?;
        let node = match targets {
            Some(_) => None,
            None => {
                let node = store.register_node(&name(NODE)?, None, None).await;
                Some(node.context("register the node")?.id)
            }
        };
        let pod = store
            .create_pod(NewPod {
                owner: john.id,
                name: name(POD)?,
                team: None,
                node,
                address: None,
                state: match node {
                    Some(_) => PodState::Pending,
                    None => PodState::Ready,
                },
            })
            .await
            .context("create the pod")?;
        let [app, api, code] = targets.map_or([None; 3], |targets| targets.map(Some));
        let mut services = Vec::new();
        for (service, port, visibility, target) in [
            ("app", PORTS[0], Visibility::Public, app),
            ("api", PORTS[1], Visibility::Private, api),
            ("code", PORTS[2], Visibility::Private, code),
        ] {
            let service = create(
                &store,
                pod.id,
                &john.name,
                addresses,
                (service, port, visibility, target),
            )
            .await?;
            services.push(service);
        }
        let share_until = now.plus(SHARE);
        let share = Share {
            pod: pod.id,
            user: mary.id,
            services: vec![name("code")?],
            expires_at: share_until,
        };
        store.put_share(&share).await.context("share code with mary")?;
        for service in &mut services {
            service.shared = share.services.contains(&service.name);
        }

        let admin_token = format!("{:032x}", rand::random::<u128>());
        write_secret(&place.file("admin.token"), &admin_token)?;
        Ok(Self {
            john,
            mary,
            id: pod.id,
            pod: pod.name,
            services,
            share_until,
            admin_token,
        })
    }

    /// What follows the service in the hosts of the pod's services.
    pub(super) fn suffix(&self) -> String {
        format!("-{}-{}.{DOMAIN}", self.pod, self.john.name)
    }

    /// A service by name.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }
}

fn name(text: &str) -> anyhow::Result<Name> {
    text.parse().with_context(|| format!("name something {text}"))
}

async fn person(
    store: &Store,
    issuer: &Issuer,
    place: &Place,
    called: &str,
    now: UnixMillis,
) -> anyhow::Result<Person> {
    let User { id, name, .. } = store
        .create_user(&name(called)?)
        .await
        .with_context(|| format!("create the user {called}"))?;
    let token = issuer
        .mint(id, TOKEN, now)
        .with_context(|| format!("mint a token for {called}"))?;
    write_secret(&place.file(&format!("{called}.token")), &token)?;
    Ok(Person { id, name, token })
}

async fn create(
    store: &Store,
    pod: PodId,
    owner: &Name,
    addresses: &Addresses,
    (called, port, visibility, target): (&str, u16, Visibility, Option<SocketAddr>),
) -> anyhow::Result<Service> {
    let called = name(called)?;
    let label = HostTemplate::default()
        .render(&called, &name(POD)?, owner)
        .context("make a host label")?;
    let service = store
        .create_service(NewService {
            pod,
            name: called,
            host: label,
            port,
            visibility,
            targets: target.into_iter().collect(),
            siblings: false,
            external_port: None,
            limits: None,
        })
        .await
        .context("create a service")?;
    let host = format!("{}.{DOMAIN}", service.host);
    let url = match addresses.https.port() {
        443 => format!("https://{host}/"),
        port => format!("https://{host}:{port}/"),
    };
    Ok(Service {
        name: service.name,
        visibility,
        host,
        url,
        shared: false,
    })
}
