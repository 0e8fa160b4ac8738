//! Several podgates on one PostgreSQL and one authority: one of them has certificates issued.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use integration::database::Postgres;
use integration::origin;
use integration::process::free_address;
use integration::process::pebble::{Pebble, Ways};
use integration::wait::until;
use rustix::process::Signal;

use crate::site::Podgate;

const HOUR: u32 = 3600;
/// More than a lease holds.
const LONGEST: Duration = Duration::from_secs(40);

fn issues(podgate: &Podgate) -> bool {
    let printed = podgate.process.printed();
    let taken = printed.matches("certificates: this process does it").count();
    let given = printed.matches("certificates: another process does it").count();
    taken > given
}

/// Three of them; the first has the lease, the authority looks at the last one's ports.
async fn three(database: &Postgres, origin: SocketAddr) -> (Pebble, Vec<Podgate>) {
    let addresses = [(); 3].map(|()| [free_address(), free_address(), free_address()]);
    let [http, https, _] = addresses[2];
    let validity = HOUR;
    let pebble = Pebble::start(Ways { http, https, validity }).await;
    let seal = format!("[[tls.sealing_keys]]\nid = 1\nkey = \"{}\"\n", "11".repeat(32));
    let sections = pebble.section(&format!("challenge = \"http-01\"\n{seal}"));
    let mut all = Vec::new();
    for listen in addresses {
        let edge = format!("https = \"{}\"", listen[1]);
        let podgate = Podgate::on(&database.url(), listen, origin, &edge, &sections).await;
        if all.is_empty() {
            until("the lease", async || issues(&podgate).then_some(())).await;
        }
        all.push(podgate);
    }
    (pebble, all)
}

#[tokio::test]
async fn of_three_one_orders_and_all_of_them_serve() {
    let database = Postgres::start().await;
    let origin = origin::http1().route("/", "hello").run().await;
    let (pebble, all) = three(&database, origin.addr()).await;
    let client = pebble.client(&[b"http/1.1"]).await;
    let mut hosts = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        hosts.push(all[hosts.len() % 3].service(name, origin.addr()).await);
    }
    for host in &hosts {
        for podgate in &all {
            until("a certificate", async || podgate.secure(&client, host, "/").await).await;
        }
    }
    assert_eq!(all.iter().filter(|it| issues(it)).count(), 1);
    assert_eq!(pebble.orders(), hosts.len());
}

/// Whoever orders is stopped in the middle of it for longer than its lease holds: another one
/// ends what was begun, and the name is not ordered twice.
async fn another_one_goes_on(how: Signal) {
    let database = Postgres::start().await;
    let origin = origin::http1().route("/", "hello").run().await;
    let (pebble, all) = three(&database, origin.addr()).await;
    let client = pebble.client(&[b"http/1.1"]).await;
    let host = all[1].service("app", origin.addr()).await;
    until("an order", async || {
        let begun = database.sql("SELECT count(*) FROM orders WHERE url IS NOT NULL").await;
        (begun.trim() == "1").then_some(())
    })
    .await;
    all[0].process.signal(how);
    let began = Instant::now();
    while !all[1..].iter().any(issues) {
        assert!(began.elapsed() < LONGEST, "nobody took over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if how == Signal::STOP {
        all[0].process.signal(Signal::CONT);
        // It learns that it lost the lease, whatever it was about to write.
        until("only one", async || (!issues(&all[0])).then_some(())).await;
    }
    until("a certificate", async || all[1].secure(&client, &host, "/").await).await;
    assert_eq!(all[1..].iter().filter(|it| issues(it)).count(), 1);
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test]
async fn another_one_goes_on_when_it_is_killed() {
    another_one_goes_on(Signal::KILL).await;
}

#[tokio::test]
async fn another_one_goes_on_when_it_is_frozen() {
    another_one_goes_on(Signal::STOP).await;
}
