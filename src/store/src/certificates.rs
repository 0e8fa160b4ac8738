//! Certificates that were issued, and challenges while they are.

use model::{CertName, CertOrder, Certificate, Challenge};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::batch::single_writes;
use crate::entity::{certificate, challenge, order};
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

impl Store {
    /// All certificates, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificates(&self, after: Option<&str>, limit: u16) -> Result<Page<Certificate, String>, StoreError> {
        let key = (certificate::Column::Name, |it: &Certificate| it.name.to_string());
        self.page(certificate::Entity::find(), key, after, limit, "list certificates")
            .await
    }

    /// A name's certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificate(&self, name: &CertName) -> Result<Option<Certificate>, StoreError> {
        let query = certificate::Entity::find_by_id(name.to_string());
        self.one(query, "read a certificate").await
    }

    /// Those of these names that have been issued.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certificates_of(&self, names: &[CertName]) -> Result<Vec<Certificate>, StoreError> {
        let rows = certificate::Entity::find()
            .filter(certificate::Column::Name.is_in(names.iter().map(CertName::as_str)))
            .all(&self.db)
            .await
            .doing("read certificates")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The challenges about a name; a wildcard's are about the name below it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn challenges(&self, name: &CertName) -> Result<Vec<Challenge>, StoreError> {
        let rows = challenge::Entity::find()
            .filter(challenge::Column::Name.eq(name.base()))
            .all(&self.db)
            .await
            .doing("list challenges")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

single_writes! {
    /// Puts a certificate in the place of the one that its name had.
    put_certificate(it: &Certificate) -> ();
    /// Has the edges answer an authority.
    put_challenge(it: &Challenge) -> ();
    /// Has the edges answer no authority about a name any more.
    delete_challenges(name: &CertName) -> ();
    /// Forgets a name: its certificate, its order, its challenges. Whether there was any.
    forget_certificate(name: &CertName) -> bool;
}

impl Batch {
    /// Puts a certificate in the place of the one that its name had.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_certificate(&self, it: &Certificate) -> Result<(), StoreError> {
        let same = OnConflict::column(certificate::Column::Name)
            .update_columns([
                certificate::Column::Chain,
                certificate::Column::SealedBy,
                certificate::Column::SealedKey,
                certificate::Column::SealedText,
                certificate::Column::NotBefore,
                certificate::Column::NotAfter,
                certificate::Column::Revision,
            ])
            .to_owned();
        certificate::Entity::insert(certificate::Model::of(it, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put a certificate")?;
        self.tell("certificates.put", [it.name.to_string()]).await
    }

    /// Writes down that an order ended well: its certificate and what is next, and the end of
    /// its challenges.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_order(&self, it: &Certificate, next: &CertOrder) -> Result<(), StoreError> {
        self.put_certificate(it).await?;
        self.put_order(next).await?;
        self.delete_challenges(&it.name).await
    }

    /// Has the edges answer an authority.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_challenge(&self, it: &Challenge) -> Result<(), StoreError> {
        let key = [
            challenge::Column::Kind,
            challenge::Column::Name,
            challenge::Column::Token,
        ];
        let same = OnConflict::columns(key)
            .update_columns([challenge::Column::Answer, challenge::Column::Revision])
            .to_owned();
        challenge::Entity::insert(challenge::Model::of(it, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put a challenge")?;
        Ok(())
    }

    /// Has the edges answer no authority about a name any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_challenges(&self, name: &CertName) -> Result<(), StoreError> {
        // A wildcard's are about the name below it.
        let of = challenge::Column::Name.eq(name.base());
        self.remove::<challenge::Model>(of, "delete challenges").await?;
        Ok(())
    }

    /// Forgets a name: its certificate, its order, its challenges. Whether there was any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_certificate(&self, name: &CertName) -> Result<bool, StoreError> {
        self.delete_challenges(name).await?;
        let orders = order::Entity::delete_by_id(name.to_string())
            .exec(&self.transaction)
            .await
            .doing("delete an order")?;
        let it = certificate::Column::Name.eq(name.as_str());
        let removed = self.remove::<certificate::Model>(it, "delete a certificate").await?;
        if removed {
            self.tell("certificates.delete", [name.to_string()]).await?;
        }
        Ok(removed || orders.rows_affected > 0)
    }
}
