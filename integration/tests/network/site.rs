//! The whole of podgate on one machine: the API says what shall be, and pods have it.

use http::Method;
use integration::edge::{self, Podgate, fleet::Api};
use integration::machine::{self, Machine, ip};
use integration::process::free_address;
use integration::wait::until;
use integration::world::World;
use serde_json::{Value, json};

use crate::node::{FAR, FARTHER, at};

/// What opens the API.
pub(crate) const TOKEN: &str = "the-administrators-token";

/// A podgate with all its roles on a machine of the test's own.
pub(crate) struct Site {
    pub(crate) podgate: Podgate,
    pub(crate) api: Api,
    pub(crate) outside: Machine,
}

impl Site {
    pub(crate) async fn start(settings: &[(&str, toml::Value)]) -> Self {
        machine::alone();
        Self::with(edge::with_world(World::new()), settings).await
    }

    /// Starts it on the machine that this thread is on.
    pub(crate) async fn with(mut builder: edge::Builder, settings: &[(&str, toml::Value)]) -> Self {
        let outside = Machine::with_cable("outside", "up0", "192.0.2.", "2001:db8::");
        for address in FAR.iter().chain(&FARTHER) {
            outside.ip(&format!("addr add {address} dev lo nodad"));
        }
        ip("route add default via 192.0.2.2");
        ip("-6 route add default via 2001:db8::2");
        outside.answer(&[at(FAR, 80), at(FARTHER, 80)].concat());
        let api = free_address();
        builder = builder
            .set("control.listen", api.to_string())
            .set("control.admin_token", TOKEN)
            .set("sidecar.node", "here");
        for (key, value) in settings {
            builder = builder.set(key, value.clone());
        }
        let podgate = builder.podgate().await;
        let api = Api::at(api, TOKEN);
        let site = Self { podgate, api, outside };
        until("the node to register", async || {
            let nodes = site.api.ok(Method::GET, "nodes", Value::Null).await;
            nodes["items"]
                .as_array()
                .is_some_and(|nodes| !nodes.is_empty())
                .then_some(())
        })
        .await;
        site.api.ok(Method::POST, "users", json!({"name": "john"})).await;
        site
    }

    /// A pod on this node; its path in the API, once it is ready.
    pub(crate) async fn pod(&self, name: &str) -> (String, Value) {
        let made = self
            .api
            .ok(
                Method::POST,
                "pods",
                json!({"name": name, "owner": "john", "node": "here"}),
            )
            .await;
        assert_eq!(made["state"], "pending");
        let path = format!("pods/{}", made["id"].as_str().expect("an id"));
        (path.clone(), self.is(&path, "ready").await)
    }

    pub(crate) async fn is(&self, path: &str, state: &str) -> Value {
        until(state, async || {
            let pod = self.api.ok(Method::GET, path, Value::Null).await;
            (pod["state"] == state).then_some(pod)
        })
        .await
    }
}

/// A pod, as a machine.
pub(crate) fn machine(pod: &Value) -> Machine {
    Machine::named(&format!("podgate-{}", pod["id"].as_str().expect("an id")))
}

/// Answers `from here` by HTTP on port 3000 of a pod.
pub(crate) fn serve(inside: &Machine) {
    let listener = inside.run(|| std::net::TcpListener::bind(("0.0.0.0", 3000)).expect("free"));
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nfrom here");
        }
    });
}
