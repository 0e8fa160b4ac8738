//! Rows of `services`.

use model::{Key, OwnLimits as _, PodId, Revision, Service, ServiceId, ServiceLimits};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::{Row, corrupt, json, list, stored, stored_json, stored_list};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "services")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub pod_id: Uuid,
    pub name: String,
    pub host: String,
    pub port: i32,
    pub visibility: String,
    pub targets: String,
    pub external_port: Option<i32>,
    pub siblings: bool,
    pub limits: Option<String>,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Service {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: ServiceId::from_uuid(row.id),
            pod: PodId::from_uuid(row.pod_id),
            name: stored("service name", &row.name)?,
            host: stored("host label", &row.host)?,
            port: port(row.port)?,
            visibility: stored("visibility", &row.visibility)?,
            targets: stored_list("targets", &row.targets)?,
            external_port: row.external_port.map(port).transpose()?,
            siblings: row.siblings,
            limits: stored_json("service limits", row.limits.as_deref())?.and_then(ServiceLimits::kept),
        })
    }
}

fn port(number: i32) -> Result<u16, StoreError> {
    u16::try_from(number).map_err(|error| corrupt("service port", number, error))
}

impl Model {
    pub fn of(service: &Service, revision: i64) -> Self {
        Self {
            id: service.id.uuid(),
            pod_id: service.pod.uuid(),
            name: service.name.to_string(),
            host: service.host.to_string(),
            port: i32::from(service.port),
            visibility: service.visibility.to_string(),
            targets: list(&service.targets),
            external_port: service.external_port.map(i32::from),
            siblings: service.siblings,
            limits: json(service.limits.as_deref()),
            revision,
        }
    }
}

impl Row for Model {
    const REVISION: Column = Column::Revision;

    fn revision(&self) -> Revision {
        Revision(self.revision.unsigned_abs())
    }

    fn key(&self) -> Result<Key, StoreError> {
        Ok(Key::Service(stored("host label", &self.host)?))
    }

    fn entity(self) -> Result<model::Entity, StoreError> {
        self.try_into().map(model::Entity::Service)
    }
}
