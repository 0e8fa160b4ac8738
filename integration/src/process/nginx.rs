//! nginx as an origin: files from a directory, by sendfile, as pods really do.

use std::fs;
use std::net::SocketAddr;

use super::{Process, Program, free_address};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

impl Nginx {
    /// Serves these files, given as name and length; every byte is zero.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    pub async fn serving(files: &[(&str, u64)]) -> Self {
        let address = free_address();
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path();
        fs::create_dir(dir.join("www")).expect("create the root");
        for (name, length) in files {
            // Sparse: a gigabyte costs nothing to make, and is sent like any other.
            fs::File::create(dir.join("www").join(name))
                .and_then(|file| file.set_len(*length))
                .expect("create a file");
        }
        // Everything that it writes goes below its own directory, and its workers
        // keep the user that may read that directory.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {dir}/pid; error_log stderr warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n  \
             client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n  \
             uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n  \
             server {{ listen {address}; root {dir}/www; }}\n}}\n",
            dir = dir.display(),
        );
        fs::write(dir.join("nginx.conf"), config).expect("write the config");
        let mut process = Program::find("nginx", "nginx (Debian)")
            .args(["-e", "stderr", "-c"])
            .arg(dir.join("nginx.conf"))
            .start_in(home);
        process.listening(address).await;
        Self { address, process }
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
