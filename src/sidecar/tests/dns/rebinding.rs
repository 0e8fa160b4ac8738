//! Public names that lead inside.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{self, A, AAAA, HTTPS};
use sidecar::dns::{Outcome, Settings};

use crate::knot::Knot;
use crate::world::{Pod, World, addresses, code, ips, note};

async fn check(pod: &Pod<'_>, name: &str, kind: RecordType, expected: &[&str]) {
    let answer = pod.ask(name, kind).await;
    assert_eq!(code(&answer), ResponseCode::NoError, "{name}");
    assert_eq!(addresses(&answer), ips(expected), "{name}");
    let outcome = if expected.is_empty() {
        Outcome::Rebinding
    } else {
        Outcome::Answered
    };
    assert_eq!(pod.last().0, outcome, "{name}");
    if expected.is_empty() {
        assert_eq!(answer.answers, [], "{name}: no CNAME either");
        assert_eq!(note(&answer), Some(15), "{name}");
    }
}

#[tokio::test]
async fn a_public_name_does_not_lead_inside() {
    let knot = Knot::start();
    let mut settings = Settings::new(vec![knot.address]);
    settings.private_domains = vec!["corp.test".parse().expect("a suffix")];
    settings.pod_networks = vec!["203.0.113.0/24".parse().expect("a network")];
    let world = World::with(settings);
    let rules = [
        "inside.test",
        "lure.test",
        "mapped.test",
        "metadata.test",
        "pods.test",
        "mixed.test",
        "git.corp.test",
        "www.test",
    ];
    let open = world.open_pod(1);
    let restricted = world.restricted_pod(2, &rules);
    for pod in [&open, &restricted] {
        check(pod, "inside.test.", A, &[]).await;
        check(pod, "inside.test.", AAAA, &[]).await;
        check(pod, "lure.test.", A, &[]).await;
        check(pod, "mapped.test.", AAAA, &[]).await;
        check(pod, "metadata.test.", A, &[]).await;
        check(pod, "pods.test.", A, &[]).await;
    }
    assert_eq!(world.kernel.take(), [], "nothing inside is opened");

    for pod in [&open, &restricted] {
        check(pod, "www.test.", A, &["192.0.2.1"]).await;
        check(pod, "mixed.test.", A, &["192.0.2.9"]).await;
        check(pod, "git.corp.test.", A, &["10.9.9.9"]).await;
    }
    let opened: Vec<_> = world
        .kernel
        .take()
        .into_iter()
        .flat_map(|opened| opened.addresses)
        .collect();
    let opened: Vec<_> = opened.into_iter().map(|(address, _)| address).collect();
    assert_eq!(opened, ips(&["192.0.2.1", "192.0.2.9", "10.9.9.9"]));
}

#[tokio::test]
async fn a_network_that_the_pod_may_reach_is_not_inside_for_it() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let other = world.open_pod(1);
    let pod = world.pod(2, Some(&["inside.test", "mixed.test"]), &["10.1.0.0/16"]);
    check(&pod, "inside.test.", A, &["10.1.2.3"]).await;
    check(&pod, "mixed.test.", A, &["10.1.2.3", "192.0.2.9"]).await;
    // The same answer, known by now, for another.
    check(&other, "inside.test.", A, &[]).await;
    check(&other, "mixed.test.", A, &["192.0.2.9"]).await;
}

#[tokio::test]
async fn hints_do_not_lead_inside_either() {
    let knot = Knot::start();
    let world = World::before(knot.address);
    let pod = world.open_pod(1);
    let shown = async |name| pod.ask(name, HTTPS).await.answers[0].data.to_string();
    assert!(shown("svc.test.").await.contains("192.0.2.1"));
    let inside = shown("svc-inside.test.").await;
    assert!(inside.contains("h2") && !inside.contains("10.1.2.3"), "{inside}");
}
