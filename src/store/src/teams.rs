//! Teams and who is in them.

use std::slice;

use model::{Member, Name, Team, TeamId, UserId};
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter};

use crate::batch::{CHUNK, not_found, single_writes};
use crate::entity::{member, team, user};
use crate::error::Doing;
use crate::{Batch, Page, Stamped, Store, StoreError};

const WHAT: &str = "team";
const NAME: &str = "team name";

impl Store {
    /// A team by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn team(&self, id: TeamId) -> Result<Option<Stamped<Team>>, StoreError> {
        self.one_stamped::<team::Model, _>(team::Entity::find_by_id(id.uuid()), "read a team")
            .await
    }

    /// A team by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn team_named(&self, name: &Name) -> Result<Option<Stamped<Team>>, StoreError> {
        let query = team::Entity::find().filter(team::Column::Name.eq(name.as_str()));
        self.one_stamped::<team::Model, _>(query, "read a team").await
    }

    /// All teams, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn teams(&self, after: Option<TeamId>, limit: u16) -> Result<Page<Team, TeamId>, StoreError> {
        let key = (team::Column::Id, |team: &Team| team.id);
        self.page(team::Entity::find(), key, after.map(TeamId::uuid), limit, "list teams")
            .await
    }

    /// A user's place in a team.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn member(&self, team: TeamId, user: UserId) -> Result<Option<Stamped<Member>>, StoreError> {
        let query = member::Entity::find_by_id((team.uuid(), user.uuid()));
        self.one_stamped::<member::Model, _>(query, "read a member").await
    }

    /// A team's members, by user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(
        &self,
        team: TeamId,
        after: Option<UserId>,
        limit: u16,
    ) -> Result<Page<Member, UserId>, StoreError> {
        let query = member::Entity::find().filter(member::Column::TeamId.eq(team.uuid()));
        let key = (member::Column::UserId, |member: &Member| member.user);
        self.page(query, key, after.map(UserId::uuid), limit, "list members")
            .await
    }
}

single_writes! {
    /// Makes a team.
    create_team(name: &Name) -> Team;
    /// Changes a team.
    update_team(id: TeamId, change: impl FnOnce(&mut Team)) -> Team;
    /// Removes a team.
    delete_team(id: TeamId) -> ();
    /// Puts a user into a team, or changes its status there.
    put_member(member: &Member) -> bool;
    /// Takes a user out of a team.
    remove_member(team: TeamId, user: UserId) -> ();
}

impl Batch {
    /// Makes a team.
    ///
    /// # Errors
    /// When the name is taken or the database fails.
    pub async fn create_team(&self, name: &Name) -> Result<Team, StoreError> {
        let team = Team {
            id: TeamId::new(),
            name: name.clone(),
        };
        self.add_teams(slice::from_ref(&team)).await?;
        Ok(team)
    }

    /// Adds teams with the ids they have.
    ///
    /// # Errors
    /// When a name is taken or the database fails.
    pub async fn add_teams(&self, teams: &[Team]) -> Result<(), StoreError> {
        for teams in teams.chunks(CHUNK) {
            let names = teams.iter().map(|team| team.name.as_str());
            self.require_free::<team::Entity>(team::Column::Name, NAME, names)
                .await?;
            let rows = teams.iter().map(|team| team::Model::of(team, self.revision)).collect();
            self.insert(rows, "create teams").await?;
            self.tell("teams.create", teams.iter().map(|team| team.name.to_string()))
                .await?;
        }
        Ok(())
    }

    /// Changes a team: its name.
    ///
    /// # Errors
    /// When there is no such team, the new name is taken, or the database fails.
    pub async fn update_team(&self, id: TeamId, change: impl FnOnce(&mut Team)) -> Result<Team, StoreError> {
        let row = team::Entity::find_by_id(id.uuid()).one(&self.transaction).await;
        let before: Team = row
            .doing("read a team")?
            .ok_or_else(|| not_found(WHAT, id))?
            .try_into()?;
        let mut team = before.clone();
        change(&mut team);
        team.id = id;
        if team.name != before.name {
            self.require_free::<team::Entity>(team::Column::Name, NAME, [team.name.as_str()])
                .await?;
        }
        self.overwrite(team::Model::of(&team, self.revision), "update a team")
            .await?;
        self.tell("teams.update", [before.name.to_string()]).await?;
        Ok(team)
    }

    /// Removes a team with its memberships; its pods go on without one.
    ///
    /// # Errors
    /// When there is no such team or the database fails.
    pub async fn delete_team(&self, id: TeamId) -> Result<(), StoreError> {
        let title = self.team_title(id).await?;
        self.detach_pods(id).await?;
        let id = id.uuid();
        self.remove::<member::Model>(member::Column::TeamId.eq(id), "remove a team's members")
            .await?;
        let removed = self
            .remove::<team::Model>(team::Column::Id.eq(id), "delete a team")
            .await?;
        if !removed {
            return Err(not_found(WHAT, id));
        }
        self.tell("teams.delete", [title]).await
    }

    /// Puts a user into a team, or changes its status there; whether it is new.
    ///
    /// # Errors
    /// When there is no such team or user, or the database fails.
    pub async fn put_member(&self, member: &Member) -> Result<bool, StoreError> {
        self.require::<team::Entity>(team::Column::Id, WHAT, [member.team.uuid()])
            .await?;
        self.require::<user::Entity>(user::Column::Id, "user", [member.user.uuid()])
            .await?;
        let there = member::Entity::find_by_id((member.team.uuid(), member.user.uuid()))
            .count(&self.transaction)
            .await
            .doing("read a member")?;
        let same = OnConflict::columns([member::Column::TeamId, member::Column::UserId])
            .update_columns([member::Column::Status, member::Column::Revision])
            .to_owned();
        member::Entity::insert(member::Model::of(member, self.revision).into_active_model())
            .on_conflict(same)
            .exec_without_returning(&self.transaction)
            .await
            .doing("put a member")?;
        let title = self.member_title(member.team, member.user).await?;
        self.tell("members.put", [title]).await?;
        Ok(there == 0)
    }

    /// Takes a user out of a team.
    ///
    /// # Errors
    /// When it is not in there or the database fails.
    pub async fn remove_member(&self, team: TeamId, user: UserId) -> Result<(), StoreError> {
        let it = member::Column::TeamId
            .eq(team.uuid())
            .and(member::Column::UserId.eq(user.uuid()));
        let removed = self.remove::<member::Model>(it, "remove a member").await?;
        if !removed {
            return Err(not_found("member", user));
        }
        let title = self.member_title(team, user).await?;
        self.tell("members.remove", [title]).await
    }

    /// A membership as people type it: `crew/mary`.
    async fn member_title(&self, team: TeamId, user: UserId) -> Result<String, StoreError> {
        Ok(format!(
            "{}/{}",
            self.team_title(team).await?,
            self.user_title(user).await?
        ))
    }
}
