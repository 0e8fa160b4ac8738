//! Rows of `addresses`: which node holds which address, and for which pod.

use std::net::Ipv4Addr;

use model::{NodeId, PodId};
use sea_orm::entity::prelude::*;

use crate::StoreError;
use crate::entity::corrupt;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "addresses")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub address: String,
    pub number: i64,
    pub pod_id: Option<Uuid>,
    pub node_id: Uuid,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn of(address: Ipv4Addr, pod: PodId, node: NodeId) -> Self {
        Self {
            address: address.to_string(),
            number: address.to_bits().into(),
            pod_id: Some(pod.uuid()),
            node_id: node.uuid(),
        }
    }

    pub fn address(&self) -> Result<Ipv4Addr, StoreError> {
        let bits = u32::try_from(self.number);
        let bits = bits.map_err(|error| corrupt("address", self.number, error))?;
        Ok(Ipv4Addr::from_bits(bits))
    }
}
