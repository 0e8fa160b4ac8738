//! Whether all that a file refers to is in it, or there already.

use std::collections::HashSet;

use model::Name;

use super::super::present::Present;
use super::place::{At, Problem};
use super::wanted::Wanted;

/// Every reference to nothing.
pub(super) fn check(wanted: &Wanted, present: &Present, prune: bool) -> Vec<Problem> {
    let users: HashSet<&Name> = wanted.users.iter().map(|user| &user.name.value).collect();
    let teams: HashSet<&Name> = wanted.teams.iter().map(|team| &team.name).collect();
    let nodes: HashSet<&Name> = wanted.nodes.iter().map(|node| &node.name).collect();
    let mut problems = Vec::new();
    let mut need = |what: &str, at: &At<Name>, there: bool| {
        if !there {
            problems.push(Problem {
                place: at.place.clone(),
                message: format!("there is no {what} `{}`, neither here nor in podgate", at.value),
            });
        }
    };
    let user = |at: &At<Name>| users.contains(&at.value) || present.users.contains_key(&at.value);
    for (member, _) in wanted.teams.iter().flat_map(|team| &team.members) {
        need("user", member, user(member));
    }
    for pod in &wanted.pods {
        need("user", &pod.owner, user(&pod.owner));
        if let Some(Some(team)) = &pod.team {
            let there = teams.contains(&team.value) || present.teams.contains_key(&team.value);
            need("team", team, there);
        }
        if let Some(Some(node)) = &pod.node {
            let there = nodes.contains(&node.value) || present.nodes.contains_key(&node.value);
            need("node", node, there);
        }
        let old = present.pods.get(&pod.key()).filter(|_| !prune);
        for share in &pod.shares {
            need("user", &share.user, user(&share.user));
            for at in &share.services {
                let there = pod.services.iter().any(|service| service.name == at.value)
                    || old.is_some_and(|pod| pod.services.contains_key(&at.value));
                need("service", at, there);
            }
        }
    }
    problems
}
