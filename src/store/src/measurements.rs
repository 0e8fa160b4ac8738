//! What nodes and edges measure of pods: the latest of each, for whoever asks. No revision
//! goes by it, and no follower is woken.

use std::collections::BTreeSet;

use model::{Measured, PodId, UnixMillis};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::batch::CHUNK;
use crate::entity::{measurement, pod};
use crate::error::Doing;
use crate::{Store, StoreError};

impl Store {
    /// Writes down what `source` has measured, in the place of what it had measured before.
    /// Pods that are gone are passed over.
    ///
    /// # Errors
    /// When the database fails: a part may have been written.
    pub async fn write_measurements(
        &self,
        source: &str,
        at: UnixMillis,
        measured: &[(PodId, Measured)],
    ) -> Result<(), StoreError> {
        const DOING: &str = "write measurements";
        for measured in measured.chunks(CHUNK) {
            let _turn = self.turn().await;
            let there: Vec<Uuid> = pod::Entity::find()
                .select_only()
                .column(pod::Column::Id)
                .filter(pod::Column::Id.is_in(measured.iter().map(|(pod, _)| pod.uuid())))
                .into_tuple()
                .all(&self.db)
                .await
                .doing(DOING)?;
            let there: BTreeSet<Uuid> = there.into_iter().collect();
            let rows = measured.iter().filter(|(pod, _)| there.contains(&pod.uuid()));
            let rows = rows.map(|(pod, measured)| measurement::Model::of(*pod, source, at, measured));
            let rows: Vec<_> = rows.map(IntoActiveModel::into_active_model).collect();
            if rows.is_empty() {
                continue;
            }
            let place = OnConflict::columns([measurement::Column::PodId, measurement::Column::Source])
                .update_columns([measurement::Column::MeasuredAt, measurement::Column::Measured])
                .to_owned();
            measurement::Entity::insert_many(rows)
                .on_conflict(place)
                .exec_without_returning(&self.db)
                .await
                .doing(DOING)?;
        }
        Ok(())
    }

    /// The latest that each has measured of a pod, and when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn measurements(&self, pod: PodId) -> Result<Vec<(UnixMillis, Measured)>, StoreError> {
        let rows = measurement::Entity::find()
            .filter(measurement::Column::PodId.eq(pod.uuid()))
            .all(&self.db)
            .await
            .doing("read measurements")?;
        rows.into_iter()
            .map(|row| Ok((UnixMillis(row.measured_at), row.measured()?)))
            .collect()
    }
}
