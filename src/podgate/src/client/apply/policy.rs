//! A pod's network policy, as a file says it.

use model::{Bandwidth, Egress, Ingress, MAX_RULES, NetworkPolicy, Ports, Speed};

use super::place::Place;
use super::reader::{Field, Fields, Reader};
use super::tree::{self, Value};
use super::wanted::Unusable;

/// Reads a file that is one policy.
pub(super) fn read(text: &str) -> Result<NetworkPolicy, Unusable> {
    let documents = tree::parse(text)?;
    let mut reader = Reader::default();
    let mut found = None;
    for (at, tree) in documents.iter().enumerate() {
        let number = (documents.len() > 1).then_some(at + 1);
        let place = Place::top(number, tree.line);
        if at > 0 {
            reader.problem(&place, "a pod has one policy");
        }
        found = policy(&mut reader, &Field { tree, place });
    }
    if documents.is_empty() {
        reader.problem(
            &Place::top(None, 1),
            "there is no policy; one that says nothing is `{}`",
        );
    }
    match found {
        Some(policy) if reader.problems.is_empty() => Ok(policy),
        _ => Err(Unusable::Problems(reader.problems)),
    }
}

/// Reads the policy of a pod. What is null is as if it were not there.
pub(super) fn policy(reader: &mut Reader, field: &Field<'_>) -> Option<NetworkPolicy> {
    let fields = reader.fields(field, &["egress", "ingress", "bandwidth"])?;
    let egress = reader.maybe(&fields, "egress", egress).flatten();
    let ingress = reader.maybe(&fields, "ingress", ingress).flatten();
    let bandwidth = reader.maybe(&fields, "bandwidth", bandwidth).flatten();
    Some(NetworkPolicy {
        egress: egress.unwrap_or_default(),
        ingress: ingress.unwrap_or_default(),
        bandwidth: bandwidth.unwrap_or_default(),
    })
}

fn egress(reader: &mut Reader, field: &Field<'_>) -> Option<Egress> {
    let fields = reader.fields(field, &["mode", "domains", "cidrs", "internal"])?;
    Some(Egress {
        mode: reader.maybe(&fields, "mode", Reader::parse).flatten(),
        domains: rules(reader, &fields, "domains").unwrap_or_default(),
        cidrs: rules(reader, &fields, "cidrs").unwrap_or_default(),
        internal: rules(reader, &fields, "internal").unwrap_or_default(),
    })
}

fn ingress(reader: &mut Reader, field: &Field<'_>) -> Option<Ingress> {
    let fields = reader.fields(field, &["from", "ports"])?;
    Some(Ingress {
        from: rules(reader, &fields, "from"),
        ports: reader.maybe(&fields, "ports", ports).flatten(),
    })
}

/// A list of rules; nothing for null, as where there is none.
fn rules<T>(reader: &mut Reader, fields: &Fields<'_>, key: &str) -> Option<Vec<T>>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let field = fields.get(key).filter(|field| field.tree.value != Value::Null)?;
    let items = reader.items(Some(field.clone()));
    if items.len() > MAX_RULES {
        let message = format!("{} rules, and at most {MAX_RULES} are kept", items.len());
        reader.problem(&field.place, message);
    }
    Some(items.iter().filter_map(|item| reader.parse(item)).collect())
}

/// Ports as one text, or as a list.
fn ports(reader: &mut Reader, field: &Field<'_>) -> Option<Ports> {
    let Value::List(_) = field.tree.value else {
        return reader.parse(field);
    };
    let items = reader.items(Some(field.clone()));
    let each: Option<Vec<Ports>> = items.iter().map(|item| reader.parse(item)).collect();
    let text: Vec<String> = each?.iter().map(Ports::to_string).collect();
    let read = text.join(",").parse();
    read.map_err(|error: model::PortsError| reader.problem(&field.place, error.to_string()))
        .ok()
}

fn bandwidth(reader: &mut Reader, field: &Field<'_>) -> Option<Bandwidth> {
    let fields = reader.fields(field, &["max", "guaranteed"])?;
    let max = reader.maybe(&fields, "max", speed).flatten();
    let guaranteed = reader.maybe(&fields, "guaranteed", speed).flatten();
    Bandwidth::of(max, guaranteed)
        .map_err(|error| reader.problem(&field.place, error.to_string()))
        .ok()
}

/// A speed as one text, or with one for each direction.
fn speed(reader: &mut Reader, field: &Field<'_>) -> Option<Speed> {
    let Value::Map(_) = field.tree.value else {
        return reader.parse(field);
    };
    let fields = reader.fields(field, &["up", "down"])?;
    let up = reader.maybe(&fields, "up", Reader::parse);
    let down = reader.maybe(&fields, "down", Reader::parse);
    if fields.get("up").is_none() && fields.get("down").is_none() {
        reader.problem(&field.place, "neither `up` nor `down` is given");
    }
    Speed::of(up.flatten(), down.flatten())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, from_value, json};

    use super::*;

    #[test]
    fn a_file_reads_as_the_api_does() {
        let check = |text: &str, expected: Json| {
            let expected: NetworkPolicy = from_value(expected).expect("a policy");
            assert_eq!(read(text).expect(text), expected, "{text}");
        };
        let text = "\
egress:
  mode: restricted
  domains: [github.com, '*.npmjs.org:443,8443']
  cidrs: [10.0.0.0/8, '[fd00::/8]:443']
  internal: [databases]
ingress:
  from: [edges, john/other]
  ports: [3000, 53/udp, 8000-8999]
bandwidth:
  max: {up: 10mbit, down: 100mbit}
  guaranteed: 5mbit
";
        let whole = json!({
            "egress": {
                "mode": "restricted",
                "domains": ["github.com", "*.npmjs.org:443,8443"],
                "cidrs": ["10.0.0.0/8", "[fd00::/8]:443"],
                "internal": ["databases"],
            },
            "ingress": {"from": ["edges", "john/other"], "ports": "3000,8000-8999,53/udp"},
            "bandwidth": {"max": {"up": "10mbit", "down": "100mbit"}, "guaranteed": "5mbit"},
        });
        check(text, whole.clone());
        check(&whole.to_string(), whole);
        check("{}", json!({}));
        check("egress: null\ningress: {from: null}\n", json!({}));
        check(
            "ingress: {from: [], ports: 3000}",
            json!({"ingress": {"from": [], "ports": 3000}}),
        );
        check(
            "bandwidth: {max: {down: 1gbit}}",
            json!({"bandwidth": {"max": {"down": "1gbit"}}}),
        );
    }

    #[test]
    fn every_problem_has_its_place() {
        let text = "\
egress:
  mode: closed
  domains: [github.com, '*']
  cidrs: 10.0.0.0/8
  port: 80
ingress:
  from: [edge]
  ports: [3000, 0]
bandwidth:
  max: {up: fast}
  guaranteed: {}
exits: []
";
        let expected = [
            ("exits (line 12): ", "there are egress, ingress, bandwidth"),
            ("egress.port (line 5): ", "there are mode, domains, cidrs, internal"),
            ("egress.mode (line 2): ", "`closed` is not one of open, restricted"),
            ("egress.domains[1] (line 3): ", "the mode is `open`"),
            ("egress.cidrs (line 4): ", "must be a list"),
            ("ingress.from[0] (line 7): ", "`edge` is none of"),
            ("ingress.ports[1] (line 8): ", "`0` is not a port"),
            ("bandwidth.max.up (line 10): ", "`fast` is not a bandwidth"),
            ("bandwidth.guaranteed (line 11): ", "neither `up` nor `down`"),
        ];
        let Err(Unusable::Problems(found)) = read(text) else {
            panic!("it is no policy");
        };
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (place, message)) in found.iter().zip(expected) {
            assert!(
                found.starts_with(place) && found.contains(message),
                "{place}{message}: {found}"
            );
        }
        let problem = |text: &str| read(text).expect_err(text).to_string();
        let over = problem("bandwidth: {max: 1mbit, guaranteed: 2mbit}");
        assert!(
            over.contains("bandwidth (line 1): `guaranteed` (2mbit up) is over"),
            "{over}"
        );
        assert!(problem("{}\n---\n{}").contains("one policy"));
        assert!(problem("").contains("`{}`"));
        assert!(problem("[]").contains("must be a map"));
    }
}
