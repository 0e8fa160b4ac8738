//! Services: the routes.

use std::net::SocketAddr;
use std::slice;

use model::{HostLabel, Key, Name, PodId, Service, ServiceId, ServiceLimits, Visibility};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::batch::{CHUNK, not_found, single_writes};
use crate::entity::{pod, service};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

const WHAT: &str = "service";
const NAME: &str = "service name";
const HOST: &str = "host label";

/// What a new service is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewService {
    /// The pod it runs in.
    pub pod: PodId,
    /// Its name, unique within the pod.
    pub name: Name,
    /// The first label of its host, unique over everything: rendered by the caller,
    /// once, with the configured template.
    pub host: HostLabel,
    /// The port it listens on inside the pod.
    pub port: u16,
    /// Who it is for.
    pub visibility: Visibility,
    /// Whether pages of its owner's other services may act with a visitor's session.
    pub siblings: bool,
    /// Where it really runs, when that is not the pod's own address and port.
    pub targets: Vec<SocketAddr>,
    /// The port on the pod's node where other machines reach it.
    pub external_port: Option<u16>,
    /// What it has in the place of the config's limits; never empty ones.
    pub limits: Option<Box<ServiceLimits>>,
}

impl Store {
    /// A service by its pod and name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn service(&self, pod: PodId, name: &Name) -> Result<Option<Stamped<Service>>, StoreError> {
        let query = service::Entity::find()
            .filter(service::Column::PodId.eq(pod.uuid()))
            .filter(service::Column::Name.eq(name.as_str()));
        self.one_stamped::<service::Model, _>(query, "read a service").await
    }

    /// A service by the label that routes to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn service_at(&self, host: &HostLabel) -> Result<Option<Stamped<Service>>, StoreError> {
        let query = service::Entity::find().filter(service::Column::Host.eq(host.as_str()));
        self.one_stamped::<service::Model, _>(query, "read a service").await
    }

    /// A pod's services, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn services(
        &self,
        pod: PodId,
        after: Option<&Name>,
        limit: u16,
    ) -> Result<Page<Service, Name>, StoreError> {
        let query = service::Entity::find().filter(service::Column::PodId.eq(pod.uuid()));
        let key = (service::Column::Name, |service: &Service| service.name.clone());
        self.page(query, key, after.map(Name::as_str), limit, "list services")
            .await
    }

    /// All services of all pods, by host label.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn routes(&self, after: Option<&HostLabel>, limit: u16) -> Result<Page<Service, HostLabel>, StoreError> {
        let key = (service::Column::Host, |service: &Service| service.host.clone());
        let after = after.map(HostLabel::as_str);
        self.page(service::Entity::find(), key, after, limit, "list routes")
            .await
    }
}

single_writes! {
    /// Makes a service.
    create_service(new: NewService) -> Service;
    /// Changes a service.
    update_service(pod: PodId, name: &Name, change: impl FnOnce(&mut Service)) -> Service;
    /// Removes a service.
    delete_service(pod: PodId, name: &Name) -> ();
}

impl Batch {
    /// Makes a service.
    ///
    /// # Errors
    /// When its host label or its name within the pod is taken, when the pod does not
    /// exist, or when the database fails.
    pub async fn create_service(&self, new: NewService) -> Result<Service, StoreError> {
        let NewService {
            pod,
            name,
            host,
            port,
            visibility,
            siblings,
            targets,
            external_port,
            limits,
        } = new;
        let mut service = Service {
            id: ServiceId::new(),
            pod,
            name,
            host,
            port,
            visibility,
            siblings,
            targets,
            external_port,
            limits,
        };
        self.add_services(slice::from_ref(&service)).await?;
        // Last: a name that is taken leaves no port behind.
        let pod = self.pod_with_ports(pod).await?;
        let given = service.external_port;
        self.settle_service_port(&pod, None, &mut service).await?;
        if service.external_port != given {
            self.overwrite(service::Model::of(&service, self.revision), "give a service a port")
                .await?;
        }
        Ok(service)
    }

    /// Adds services with the ids they have.
    ///
    /// # Errors
    /// As [`Batch::create_service`], for any of them.
    pub async fn add_services(&self, services: &[Service]) -> Result<(), StoreError> {
        for services in services.chunks(CHUNK) {
            let pods = services.iter().map(|service| service.pod.uuid());
            self.require::<pod::Entity>(pod::Column::Id, "pod", pods).await?;
            let names = services.iter().map(|s| (s.pod.uuid(), s.name.as_str()));
            let within_pod = (service::Column::PodId, service::Column::Name);
            self.require_free_within::<service::Entity>(within_pod, NAME, names)
                .await?;
            let hosts = services.iter().map(|service| service.host.as_str());
            self.require_free::<service::Entity>(service::Column::Host, HOST, hosts)
                .await?;
            let rows = services.iter().map(|s| service::Model::of(s, self.revision)).collect();
            self.insert(rows, "create services").await?;
            let mut titles = Vec::with_capacity(services.len());
            for service in services {
                titles.push(self.service_title(service.pod, &service.name).await?);
            }
            self.tell("services.create", titles).await?;
        }
        Ok(())
    }

    /// Makes a service, or sets the one of this name in its pod, which keeps its host, and
    /// its limits unless the writer `may_limit`; whether it is new.
    ///
    /// # Errors
    /// As [`Batch::create_service`].
    pub async fn put_service(&self, new: NewService, may_limit: bool) -> Result<(Service, bool), StoreError> {
        let there = service::Entity::find()
            .filter(service::Column::PodId.eq(new.pod.uuid()))
            .filter(service::Column::Name.eq(new.name.as_str()))
            .count(&self.transaction)
            .await
            .doing("read a service")?;
        if there == 0 {
            return Ok((self.create_service(new).await?, true));
        }
        let (pod, name) = (new.pod, new.name.clone());
        let set = self.update_service(pod, &name, |service| {
            service.port = new.port;
            service.visibility = new.visibility;
            service.siblings = new.siblings;
            service.targets = new.targets;
            service.external_port = new.external_port;
            if may_limit {
                service.limits = new.limits;
            }
        });
        Ok((set.await?, false))
    }

    /// Changes a service: all but its id and pod.
    ///
    /// # Errors
    /// When there is no such service, as [`Batch::create_service`] for what is new
    /// about it, or when the database fails.
    pub async fn update_service(
        &self,
        pod: PodId,
        name: &Name,
        change: impl FnOnce(&mut Service),
    ) -> Result<Service, StoreError> {
        let row = service::Entity::find()
            .filter(service::Column::PodId.eq(pod.uuid()))
            .filter(service::Column::Name.eq(name.as_str()))
            .one(&self.transaction)
            .await;
        let before: Service = row
            .doing("read a service")?
            .ok_or_else(|| not_found(WHAT, name))?
            .try_into()?;
        let mut service = before.clone();
        change(&mut service);
        service.id = before.id;
        service.pod = pod;
        if service.name != before.name {
            let within_pod = (service::Column::PodId, service::Column::Name);
            let name = [(pod.uuid(), service.name.as_str())];
            self.require_free_within::<service::Entity>(within_pod, NAME, name)
                .await?;
        }
        if service.host != before.host {
            self.require_free::<service::Entity>(service::Column::Host, HOST, [service.host.as_str()])
                .await?;
            // Names lead to a label.
            self.release_domains(service::Column::Host.eq(before.host.as_str()))
                .await?;
            self.bury([Key::Service(before.host.clone())]).await?;
        }
        let its_pod = self.pod_with_ports(pod).await?;
        self.settle_service_port(&its_pod, Some(&before), &mut service).await?;
        self.overwrite(service::Model::of(&service, self.revision), "update a service")
            .await?;
        let title = self.service_title(pod, &before.name).await?;
        self.tell("services.update", [title]).await?;
        Ok(service)
    }

    /// Removes a service.
    ///
    /// # Errors
    /// When there is no such service or the database fails.
    pub async fn delete_service(&self, pod: PodId, name: &Name) -> Result<(), StoreError> {
        let it = service::Column::PodId
            .eq(pod.uuid())
            .and(service::Column::Name.eq(name.as_str()));
        let row = service::Entity::find().filter(it.clone()).one(&self.transaction).await;
        let row = row.doing("read a service")?.ok_or_else(|| not_found(WHAT, name))?;
        self.release_service_port(&row.try_into()?).await?;
        self.release_domains(it.clone()).await?;
        self.remove::<service::Model>(it, "delete a service").await?;
        let title = self.service_title(pod, name).await?;
        self.tell("services.delete", [title]).await
    }
}
