//! Names outside of the platform's domain: who claims them for which service, and who has shown
//! that they may.
//!
//! Claims to one name stand beside each other, so that one who may not have it keeps nobody
//! out. The first whose record is found has the name, and the others go.

use std::collections::{BTreeSet, HashMap};

use model::{CertName, CustomDomain, HostLabel, Name, PodId, Revision, UnixMillis, UserId};
use sea_orm::prelude::Expr;
use sea_orm::sea_query::{IntoCondition, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::batch::{CHUNK, not_found};
use crate::entity::{domain, order, pod, service, stored, user};
use crate::error::Doing;
use crate::{Batch, Page, Store, StoreError};

/// How it goes with a claim that is not verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verifying {
    /// Why the record was not found, for people.
    pub problem: Option<String>,
    /// When it was last looked for.
    pub checked_at: Option<UnixMillis>,
    /// How often in vain.
    pub failures: u32,
    /// When it is looked for again.
    pub due_at: UnixMillis,
}

/// A claim to a name, for those who look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is claimed.
    pub domain: CustomDomain,
    /// How it goes with it.
    pub verifying: Verifying,
    /// The service's pod.
    pub pod: PodId,
    /// The pod's owner.
    pub owner: UserId,
    /// The service as people type it: `john/myproject/app`.
    pub service: String,
    /// The write that the claim comes from.
    pub revision: Revision,
}

fn verifying(row: &domain::Model) -> Verifying {
    Verifying {
        problem: row.problem.clone(),
        checked_at: row.checked_at.map(UnixMillis),
        failures: row.failures.unsigned_abs(),
        due_at: UnixMillis(row.due_at),
    }
}

/// The labels of the services of these pods.
fn labels_of(pods: impl IntoCondition) -> SelectStatement {
    Query::select()
        .column(service::Column::Host)
        .from(service::Entity)
        .cond_where(pods.into_condition())
        .to_owned()
}

/// The labels of a user's services.
fn labels_of_user(user: UserId) -> SelectStatement {
    let pods = Query::select()
        .column(pod::Column::Id)
        .from(pod::Entity)
        .and_where(pod::Column::OwnerId.eq(user.uuid()))
        .to_owned();
    labels_of(service::Column::PodId.in_subquery(pods))
}

fn is(name: &CertName, host: &HostLabel) -> Condition {
    Condition::all()
        .add(domain::Column::Name.eq(name.as_str()))
        .add(domain::Column::Host.eq(host.as_str()))
}

impl Store {
    /// The names that there is something to say of, in order: those claimed, by one user or by
    /// anybody, and of the latter also those that certificates are kept for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn named(
        &self,
        of: Option<UserId>,
        after: Option<&str>,
        limit: u16,
    ) -> Result<Page<CertName, String>, StoreError> {
        const DOING: &str = "list names";
        let most = u64::from(limit) + 1;
        let after = after.unwrap_or_default();
        let mut claimed = domain::Entity::find()
            .select_only()
            .column(domain::Column::Name)
            .distinct()
            .filter(domain::Column::Name.gt(after));
        if let Some(user) = of {
            claimed = claimed.filter(domain::Column::Host.in_subquery(labels_of_user(user)));
        }
        let claimed: Vec<String> = claimed
            .order_by_asc(domain::Column::Name)
            .limit(most)
            .into_tuple()
            .all(&self.db)
            .await
            .doing(DOING)?;
        let mut names: BTreeSet<String> = claimed.into_iter().collect();
        if of.is_none() {
            let kept: Vec<String> = order::Entity::find()
                .select_only()
                .column(order::Column::Name)
                .filter(order::Column::Name.gt(after))
                .order_by_asc(order::Column::Name)
                .limit(most)
                .into_tuple()
                .all(&self.db)
                .await
                .doing(DOING)?;
            names.extend(kept);
        }
        let mut items = Vec::new();
        for name in names.iter().take(limit.into()) {
            items.push(stored("name", name)?);
        }
        let more = names.len() > usize::from(limit);
        Ok(Page {
            next: items.last().filter(|_| more).map(ToString::to_string),
            items,
        })
    }

    /// The claims to these names, by name and service.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claims(&self, names: &[CertName]) -> Result<Vec<Claim>, StoreError> {
        const DOING: &str = "list claims";
        let rows = domain::Entity::find()
            .filter(domain::Column::Name.is_in(names.iter().map(CertName::as_str)))
            .order_by_asc(domain::Column::Name)
            .order_by_asc(domain::Column::Host)
            .all(&self.db)
            .await
            .doing(DOING)?;
        let mut services = HashMap::new();
        for rows in rows.chunks(CHUNK) {
            let hosts = rows.iter().map(|row| row.host.as_str());
            let found: Vec<(String, String, Uuid, String, Uuid, String)> = service::Entity::find()
                .select_only()
                .column(service::Column::Host)
                .column(service::Column::Name)
                .column_as(pod::Column::Id, "pod")
                .column_as(pod::Column::Name, "pod_name")
                .column_as(user::Column::Id, "owner")
                .column_as(user::Column::Name, "owner_name")
                .join(
                    sea_orm::JoinType::InnerJoin,
                    service::Entity::belongs_to(pod::Entity)
                        .from(service::Column::PodId)
                        .to(pod::Column::Id)
                        .into(),
                )
                .join(
                    sea_orm::JoinType::InnerJoin,
                    pod::Entity::belongs_to(user::Entity)
                        .from(pod::Column::OwnerId)
                        .to(user::Column::Id)
                        .into(),
                )
                .filter(service::Column::Host.is_in(hosts))
                .into_tuple()
                .all(&self.db)
                .await
                .doing(DOING)?;
            services.extend(found.into_iter().map(|(host, name, pod, pod_name, owner, owner_name)| {
                let title = format!("{owner_name}/{pod_name}/{name}");
                (host, (PodId::from_uuid(pod), UserId::from_uuid(owner), title))
            }));
        }
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            // One whose service goes right now goes with it.
            let Some((pod, owner, service)) = services.get(&row.host).cloned() else {
                continue;
            };
            claims.push(Claim {
                verifying: verifying(&row),
                revision: Revision(row.revision.unsigned_abs()),
                domain: row.try_into()?,
                pod,
                owner,
                service,
            });
        }
        Ok(claims)
    }

    /// The service that has a name, as it has shown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verified(&self, name: &CertName) -> Result<Option<CustomDomain>, StoreError> {
        let query = domain::Entity::find()
            .filter(domain::Column::Name.eq(name.as_str()))
            .filter(domain::Column::VerifiedAt.is_not_null());
        self.one(query, "look for a domain").await
    }

    /// Claims whose records are to be looked for by now, those that wait longest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_claims(&self, now: UnixMillis, limit: u64) -> Result<Vec<(CustomDomain, Verifying)>, StoreError> {
        let rows = domain::Entity::find()
            .filter(domain::Column::VerifiedAt.is_null())
            .filter(domain::Column::DueAt.lte(now.0))
            .order_by_asc(domain::Column::DueAt)
            .limit(limit)
            .all(&self.db)
            .await
            .doing("list claims that are due")?;
        rows.into_iter()
            .map(|row| Ok((row.clone().try_into()?, verifying(&row))))
            .collect()
    }
}

impl Batch {
    /// Claims a name for a service; to be looked for at once. Its owner has `limit` names at
    /// most.
    ///
    /// # Errors
    /// When there is no such service, it claims the name already, the name is another's, the
    /// owner has too many, or the database fails.
    pub async fn claim_domain(&self, it: &CustomDomain, limit: u64) -> Result<(), StoreError> {
        const DOING: &str = "claim a domain";
        let row = service::Entity::find()
            .filter(service::Column::Host.eq(it.host.as_str()))
            .one(&self.transaction)
            .await
            .doing(DOING)?
            .ok_or_else(|| not_found("service", &it.host))?;
        let others = domain::Entity::find()
            .filter(domain::Column::Name.eq(it.name.as_str()))
            .all(&self.transaction)
            .await
            .doing(DOING)?;
        if others.iter().any(|other| other.host == it.host.as_str()) {
            return Err(StoreError::Taken {
                what: "domain",
                value: it.name.to_string(),
            });
        }
        if others.iter().any(|other| other.verified_at.is_some()) {
            return Err(StoreError::Claimed {
                name: it.name.to_string(),
            });
        }
        let pod = pod::Entity::find_by_id(row.pod_id).one(&self.transaction).await;
        let pod = pod.doing(DOING)?.ok_or_else(|| not_found("pod", row.pod_id))?;
        let owner = UserId::from_uuid(pod.owner_id);
        let has = domain::Entity::find()
            .filter(domain::Column::Host.in_subquery(labels_of_user(owner)))
            .count(&self.transaction)
            .await
            .doing(DOING)?;
        if has >= limit {
            let named = user::Entity::find_by_id(pod.owner_id).one(&self.transaction).await;
            let user = named.doing(DOING)?.map_or_else(|| owner.to_string(), |user| user.name);
            return Err(StoreError::TooManyDomains { user, limit });
        }
        let claim = domain::Model {
            name: it.name.to_string(),
            host: it.host.to_string(),
            value: it.value.clone(),
            verified_at: it.verified_at.map(|at| at.0),
            revision: self.revision,
            problem: None,
            checked_at: None,
            failures: 0,
            due_at: self.now.0,
        };
        self.insert(vec![claim], DOING).await?;
        let name: Name = stored("service name", &row.name)?;
        let service = self.service_title(PodId::from_uuid(row.pod_id), &name).await?;
        self.tell("domains.claim", [format!("{} for {service}", it.name)]).await
    }

    /// Has a claim's record looked for at once; whether there is such a claim that is not
    /// verified.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_claim(&self, name: &CertName, host: &HostLabel) -> Result<bool, StoreError> {
        let asked = domain::Entity::update_many()
            .col_expr(domain::Column::DueAt, Expr::value(self.now.0))
            .col_expr(domain::Column::Failures, Expr::value(0))
            .filter(is(name, host))
            .filter(domain::Column::VerifiedAt.is_null())
            .exec(&self.transaction)
            .await
            .doing("ask for a look at a claim")?;
        self.tell("domains.verify", [name.to_string()]).await?;
        Ok(asked.rows_affected > 0)
    }

    /// Writes down that a claim's record was not found, which was due at `due`: when somebody has
    /// asked for another look since, that stays due. To followers of the feed the claim is what it
    /// was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_claim(&self, it: &CustomDomain, due: UnixMillis, how: &Verifying) -> Result<(), StoreError> {
        const DOING: &str = "note how it goes with a claim";
        let query = domain::Entity::find_by_id((it.name.to_string(), it.host.to_string()));
        let Some(row) = query.one(&self.transaction).await.doing(DOING)? else {
            return Ok(());
        };
        let due_at = if row.due_at == due.0 { how.due_at.0 } else { row.due_at };
        domain::Entity::update_many()
            .col_expr(domain::Column::Problem, Expr::value(how.problem.clone()))
            .col_expr(domain::Column::CheckedAt, Expr::value(how.checked_at.map(|at| at.0)))
            .col_expr(
                domain::Column::Failures,
                Expr::value(i32::try_from(how.failures).unwrap_or(i32::MAX)),
            )
            .col_expr(domain::Column::DueAt, Expr::value(due_at))
            .filter(is(&it.name, &it.host))
            .filter(domain::Column::Value.eq(it.value.as_str()))
            .exec(&self.transaction)
            .await
            .doing(DOING)?;
        Ok(())
    }

    /// Gives a name to the service whose record was found, and takes it from all others that
    /// claim it; whether the claim is there still, and nobody else's has been found before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify_claim(&self, it: &CustomDomain) -> Result<bool, StoreError> {
        const DOING: &str = "verify a claim";
        let claims = domain::Entity::find()
            .filter(domain::Column::Name.eq(it.name.as_str()))
            .all(&self.transaction)
            .await
            .doing(DOING)?;
        if claims.iter().any(|claim| claim.verified_at.is_some()) {
            return Ok(false);
        }
        let own = |claim: &&domain::Model| claim.host == it.host.as_str() && claim.value == it.value;
        let Some(claim) = claims.iter().find(own) else {
            return Ok(false);
        };
        let others = Condition::all()
            .add(domain::Column::Name.eq(it.name.as_str()))
            .add(domain::Column::Host.ne(it.host.as_str()));
        self.remove::<domain::Model>(others, DOING).await?;
        let verified = domain::Model {
            verified_at: Some(self.now.0),
            checked_at: Some(self.now.0),
            revision: self.revision,
            problem: None,
            failures: 0,
            ..claim.clone()
        };
        self.overwrite(verified, DOING).await?;
        Ok(true)
    }

    /// Takes a service's claim to a name back.
    ///
    /// # Errors
    /// When there is none or the database fails.
    pub async fn release_domain(&self, name: &CertName, host: &HostLabel) -> Result<(), StoreError> {
        if !self
            .remove::<domain::Model>(is(name, host), "take a claim back")
            .await?
        {
            return Err(not_found("domain", name));
        }
        self.tell("domains.release", [name.to_string()]).await
    }

    /// Takes back all claims of services that go, or get another label.
    pub(crate) async fn release_domains(&self, services: impl IntoCondition) -> Result<(), StoreError> {
        let theirs = domain::Column::Host.in_subquery(labels_of(services));
        self.remove::<domain::Model>(theirs, "take claims back").await?;
        Ok(())
    }
}
