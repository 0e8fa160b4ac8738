//! Reading changes: everything, or what came after a revision.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use model::{Change, Key, Revision, Update};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use tokio::sync::mpsc;

use crate::database::begin_read;
use crate::entity::{
    Row, certificate, challenge, domain, forward, issuer_key, member, node, pod, policy, revision, service, share,
    team, tombstone, user,
};
use crate::error::Doing;
use crate::{Store, StoreError};

/// Changes in one piece of a snapshot.
const PIECE: usize = 1000;

/// What has happened after a revision.
pub(super) enum Since {
    /// Nothing.
    Nothing,
    /// This.
    Changes(Update),
    /// Nobody knows any more: tombstones after it are gone, or the store was put back
    /// to an earlier state.
    Lost,
}

/// Runs `$each` on every table that the feed carries: what is referred to before
/// what refers to it, so that a follower has the fewest loose ends.
macro_rules! each_table {
    ($each:ident($($arg:expr),*)) => {
        $each::<user::Model>($($arg),*).await?;
        $each::<team::Model>($($arg),*).await?;
        $each::<member::Model>($($arg),*).await?;
        $each::<node::Model>($($arg),*).await?;
        $each::<pod::Model>($($arg),*).await?;
        $each::<policy::Model>($($arg),*).await?;
        $each::<share::Model>($($arg),*).await?;
        $each::<service::Model>($($arg),*).await?;
        $each::<domain::Model>($($arg),*).await?;
        $each::<forward::Model>($($arg),*).await?;
        $each::<issuer_key::Model>($($arg),*).await?;
        $each::<certificate::Model>($($arg),*).await?;
        $each::<challenge::Model>($($arg),*).await?;
    };
}

/// What has changed after `seen`.
pub(super) async fn since(store: &Store, seen: Revision) -> Result<Since, StoreError> {
    const DOING: &str = "read changes";
    // Nearly always nothing has happened, and one row says so.
    let counter = revision::Entity::find().one(&store.db).await.doing(DOING)?;
    if counter.is_some_and(|counter| counter.value.unsigned_abs() == seen.0) {
        return Ok(Since::Nothing);
    }
    let transaction = begin_read(&store.db).await.doing("begin to read")?;
    let now = counter_in(&transaction).await?;
    let seen = i64::try_from(seen.0).unwrap_or(i64::MAX);
    if now.value < seen || seen < now.compacted {
        return Ok(Since::Lost);
    }

    let mut changes = Vec::new();
    let mut present = HashSet::new();
    each_table!(changed(&transaction, seen, &mut changes, &mut present));
    let removed = tombstone::Entity::find()
        .filter(tombstone::Column::Revision.gt(seen))
        .all(&transaction)
        .await
        .doing(DOING)?;
    for row in removed {
        let key: Key = row.try_into()?;
        // What was removed and is back is a row again.
        if present.insert(key.clone()) {
            changes.push(Change::Remove(key));
        }
    }
    Ok(Since::Changes(Update {
        reset: false,
        changes,
        revision: Some(Revision(now.value.unsigned_abs())),
    }))
}

async fn changed<R: Row>(
    transaction: &DatabaseTransaction,
    seen: i64,
    changes: &mut Vec<Change>,
    present: &mut HashSet<Key>,
) -> Result<(), StoreError> {
    let rows: Vec<R> = R::Entity::find()
        .filter(R::REVISION.gt(seen))
        .all(transaction)
        .await
        .doing("read changes")?;
    for row in rows {
        present.insert(row.key()?);
        changes.push(Change::Put(row.entity()?));
    }
    Ok(())
}

/// Sends everything, in pieces, as of one revision. Ends early when nobody receives.
pub(super) async fn snapshot(store: Store, pieces: mpsc::Sender<Result<Update, StoreError>>) {
    if let Err(Broken::Store(error)) = send_all(&store, &pieces).await {
        // Nobody there to hear of it is fine.
        let _ = pieces.send(Err(error)).await;
    }
}

/// Why a snapshot ended before its last piece.
enum Broken {
    Store(StoreError),
    FollowerLeft,
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

struct Pieces<'a> {
    out: &'a mpsc::Sender<Result<Update, StoreError>>,
    piece: Update,
}

impl Pieces<'_> {
    async fn push(&mut self, change: Change) -> Result<(), Broken> {
        self.piece.changes.push(change);
        if self.piece.changes.len() == PIECE {
            self.send(None).await?;
        }
        Ok(())
    }

    async fn send(&mut self, revision: Option<Revision>) -> Result<(), Broken> {
        let mut piece = std::mem::take(&mut self.piece);
        piece.revision = revision;
        self.out.send(Ok(piece)).await.map_err(|_| Broken::FollowerLeft)
    }
}

async fn send_all(store: &Store, out: &mpsc::Sender<Result<Update, StoreError>>) -> Result<(), Broken> {
    let transaction = begin_read(&store.db).await.doing("begin to read")?;
    let now = counter_in(&transaction).await?;
    let first = Update {
        reset: true,
        ..Update::default()
    };
    let mut pieces = Pieces { out, piece: first };
    each_table!(send_table(&transaction, &mut pieces));
    pieces.send(Some(Revision(now.value.unsigned_abs()))).await
}

async fn send_table<R: Row>(transaction: &DatabaseTransaction, pieces: &mut Pieces<'_>) -> Result<(), Broken> {
    const DOING: &str = "read the snapshot";
    // `.all()` would hold a million rows at once.
    let mut rows = R::Entity::find().stream(transaction).await.doing(DOING)?;
    while let Some(row) = rows.try_next().await.doing(DOING)? {
        pieces.push(Change::Put(row.entity()?)).await?;
    }
    Ok(())
}

async fn counter_in(transaction: &DatabaseTransaction) -> Result<revision::Model, StoreError> {
    let counter = revision::Entity::find().one(transaction).await;
    counter.doing("read the revision")?.ok_or_else(|| StoreError::Corrupt {
        what: "revision counter",
        value: "no row".to_owned(),
        reason: "there is exactly one".to_owned(),
    })
}
