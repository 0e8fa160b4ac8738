//! Nodes: the machines that pods run on.

use std::net::IpAddr;

use model::{Name, Node, NodeId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::batch::{not_found, single_writes};
use crate::entity::{node, pod};
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

const WHAT: &str = "node";
const NAME: &str = "node name";

impl Store {
    /// A node by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        self.one(node::Entity::find_by_id(id.uuid()), "read a node").await
    }

    /// A node by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_named(&self, name: &Name) -> Result<Option<Node>, StoreError> {
        let query = node::Entity::find().filter(node::Column::Name.eq(name.as_str()));
        self.one(query, "read a node").await
    }

    /// All nodes, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self, after: Option<NodeId>, limit: u16) -> Result<Page<Node, NodeId>, StoreError> {
        let key = (node::Column::Id, |node: &Node| node.id);
        self.page(node::Entity::find(), key, after.map(NodeId::uuid), limit, "list nodes")
            .await
    }
}

single_writes! {
    /// Makes a node.
    create_node(name: &Name, address: Option<IpAddr>) -> Node;
    /// Changes a node.
    update_node(id: NodeId, change: impl FnOnce(&mut Node)) -> Node;
    /// Removes a node.
    delete_node(id: NodeId) -> ();
}

impl Batch {
    /// Makes a node.
    ///
    /// # Errors
    /// When the name is taken or the database fails.
    pub async fn create_node(&self, name: &Name, address: Option<IpAddr>) -> Result<Node, StoreError> {
        let node = Node {
            id: NodeId::new(),
            name: name.clone(),
            address,
        };
        self.require_free::<node::Entity>(node::Column::Name, NAME, [name.as_str()])
            .await?;
        self.insert(vec![node::Model::of(&node, self.revision)], "create a node")
            .await?;
        Ok(node)
    }

    /// Changes a node: its name and address.
    ///
    /// # Errors
    /// When there is no such node, the new name is taken, or the database fails.
    pub async fn update_node(&self, id: NodeId, change: impl FnOnce(&mut Node)) -> Result<Node, StoreError> {
        let row = node::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let before: Node = row
            .doing("read a node")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        let mut node = before.clone();
        change(&mut node);
        node.id = id;
        if node.name != before.name {
            self.require_free::<node::Entity>(node::Column::Name, NAME, [node.name.as_str()])
                .await?;
        }
        self.overwrite(node::Model::of(&node, self.revision), "update a node")
            .await?;
        Ok(node)
    }

    /// Removes a node; its pods stay, on no node.
    ///
    /// # Errors
    /// When there is no such node or the database fails.
    pub async fn delete_node(&self, id: NodeId) -> Result<(), StoreError> {
        let id = id.uuid();
        self.detach_pods(pod::Column::NodeId, id).await?;
        let removed = self
            .remove::<node::Model>(node::Column::Id.eq(id), "delete a node")
            .await?;
        if removed { Ok(()) } else { Err(not_found(WHAT, id)) }
    }
}
