//! The demo's way to sign in: by choosing who one wants to be.

use async_trait::async_trait;
use model::Name;

use super::Visit;
use super::front::{Destination, Front, html, not_found, nowhere, own_origin};
use crate::pages::Page;

const PAGE: &str = include_str!("../../assets/demo-login.html");

/// Signs anybody in as any of these.
#[derive(Debug, Clone)]
pub(crate) struct Demo(pub(crate) Vec<Name>);

#[async_trait]
impl Front for Demo {
    async fn answer(&self, visit: &Visit<'_>) -> Page {
        match visit.request.uri.path() {
            "/login" => self.ask(visit),
            path => match path.strip_prefix("/login/as/") {
                Some(name) => self.sign_in(visit, name),
                None => not_found(),
            },
        }
    }
}

impl Demo {
    fn ask(&self, visit: &Visit<'_>) -> Page {
        let (Some(destination), Some(query)) = (Destination::read(visit), visit.request.uri.query()) else {
            return nowhere();
        };
        // In an attribute: the query has been through HTTP's parser, and quotes and
        // brackets are made harmless.
        let query = query
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('\'', "&#39;");
        let links: String = self
            .0
            .iter()
            .map(|name| format!("<a class=\"user\" href=\"/login/as/{name}?{query}\">{name}</a>\n"))
            .collect();
        let host = destination.origin.split_once("://").map_or("", |(_, host)| host);
        html(PAGE.replace("{{host}}", host).replace("{{users}}", &links))
    }

    fn sign_in(&self, visit: &Visit<'_>, name: &str) -> Page {
        let Some(destination) = Destination::read(visit) else {
            return nowhere();
        };
        // Chosen on our own page, not by another's link.
        let own = own_origin(visit.request, visit.client.https, visit.settings);
        let chosen = visit.request.headers.get("sec-fetch-site");
        if own.is_none() || chosen.is_some_and(|site| site != "same-origin" && site != "none") {
            return nowhere();
        }
        let user = self
            .0
            .iter()
            .find(|known| known.as_str() == name)
            .and_then(|known| filters::Table::user_named(&visit.shared.table.snapshot(), known.as_str()));
        match user {
            Some(user) => destination.send(visit, user.id),
            None => not_found(),
        }
    }
}
