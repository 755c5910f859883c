//! What the agent offers of itself, `--resources` and `--attributes`: in Mesos' text form, resources in its JSON form too, or
//! in a file that holds either.

use super::Attributes;
use api::v1;
use model::resources::Resources;
use std::borrow::Cow;

/// As a clap value parser.
pub(super) fn parse_resources(given: &str) -> Result<Resources, String> {
    let text = contents(given)?;
    if text.trim_start().starts_with('[') {
        return from_json(&text);
    }
    text.parse().map_err(|error: model::resources::BadResources| error.to_string())
}

/// As a clap value parser.
pub(super) fn parse_attributes(given: &str) -> Result<Attributes, String> {
    let text = contents(given)?;
    let list = api::convert::agent::attributes(&text).map_err(|error| error.to_string())?;
    Ok(Attributes { text: text.trim().to_owned(), list })
}

/// As a clap value parser.
pub(super) fn parse_domain(given: &str) -> Result<v1::DomainInfo, String> {
    api::convert::agent::domain(&contents(given)?)
}

/// What was given, or what is in the file of that name: no name of a resource or an attribute begins as such a name does.
fn contents(given: &str) -> Result<Cow<'_, str>, String> {
    let path = given.strip_prefix("file://").unwrap_or(given);
    if !path.starts_with('/') {
        return Ok(Cow::Borrowed(given));
    }
    std::fs::read_to_string(path).map(Cow::Owned).map_err(|error| format!("{path}: {error}"))
}

fn from_json(text: &str) -> Result<Resources, String> {
    let expected = "expected a JSON list of resources (such as \
                    '[{\"name\": \"cpus\", \"type\": \"SCALAR\", \"scalar\": {\"value\": 4}}]')";
    let list: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("{error}; {expected}"))?;
    let one = |(at, value): (usize, serde_json::Value)| {
        let bad = |why: &str| format!("resource {at}: {why}");
        let part: v1::Resource = api::json::from_slice(value.to_string().as_bytes())
            .map_err(|error| bad(&format!("{error}; {expected}")))?;
        let part = api::convert::resources::part_from_v1(&part).map_err(|error| bad(&error.to_string()))?;
        // They come and go while the cluster runs, and are not the operator's to begin with.
        if part.reservations.iter().any(|it| it.is_dynamic) {
            return Err(bad("reservations: only static ones can be given to an agent"));
        }
        if part.disk.as_ref().is_some_and(|disk| disk.persistence_id.is_some()) {
            return Err(bad("disk.persistence: volumes are made of what is offered"));
        }
        if part.is_revocable {
            return Err(bad("revocable: the agent's estimator alone says what is"));
        }
        if part.allocation.is_some() {
            return Err(bad("allocation_info: the master allocates"));
        }
        Ok(part)
    };
    list.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn resources_mean_the_same_in_text_in_json_and_in_a_file() {
        let text = "cpus:2.5;mem(eng/web):64;ports:[31000-31009, 32000-32000];zones:{a,b}";
        let json = r#"[
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.5}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 64},
             "reservations": [{"type": "STATIC", "role": "eng/web"}]},
            {"name": "ports", "type": "RANGES",
             "ranges": {"range": [{"begin": 31000, "end": 31009}, {"begin": 32000, "end": 32000}]}},
            {"name": "zones", "type": "SET", "set": {"item": ["a", "b"]}}
        ]"#;
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{json}").expect("written");
        let path = file.path().to_str().expect("UTF-8");
        let meant = parse_resources(text).expect("text");
        for given in [json, path, &format!("file://{path}")] {
            assert_eq!(parse_resources(given).expect(given), meant);
        }
        // As Mesos before 1.4 had it.
        let old = r#"[{"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "eng/web"}]"#;
        assert_eq!(
            parse_resources(old).expect("the old form"),
            parse_resources("mem(eng/web):64").expect("text")
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let cpus =
            |more: &str| format!(r#"[{{"name": "cpus", "type": "SCALAR", "scalar": {{"value": 1}}{more}}}]"#);
        for (given, parts) in [
            ("[".to_owned(), ["EOF", "such as"]),
            (r#"[{"name": "cpus"}]"#.to_owned(), ["resource 0", "type"]),
            (
                r#"[{"name": "cpus", "type": "SCALAR", "scalar": {"value": -1}}]"#.to_owned(),
                ["resource 0", "value <= 0"],
            ),
            (cpus(r#", "reservations": [{"type": "DYNAMIC", "role": "a"}]"#), ["reservations", "static"]),
            (cpus(r#", "revocable": {}"#), ["revocable", "estimator"]),
            (cpus(r#", "allocation_info": {"role": "a"}"#), ["allocation_info", "master"]),
            ("/nonexistent/resources".to_owned(), ["/nonexistent/resources", "No such file"]),
        ] {
            let told = parse_resources(&given).expect_err("it is wrong");
            for part in parts {
                assert!(told.contains(part), "{given}: '{told}' does not say '{part}'");
            }
        }
    }

    #[test]
    fn a_domain_is_a_region_and_a_zone() {
        let domain = r#"{"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "eu-1"}}}"#;
        assert_eq!(parse_domain(domain), Ok(api::convert::agent::domain_of("eu", "eu-1")));
        for (bad, says) in [("{}", "must define `fault_domain`"), ("eu", "such as"), ("/nowhere", "/nowhere")]
        {
            let why = parse_domain(bad).expect_err(bad);
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn attributes_come_from_a_file_too() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "rack:r1;cores:8;disks:[1-4]").expect("written");
        let read = parse_attributes(file.path().to_str().expect("UTF-8")).expect("in the file");
        assert_eq!(read.text, "rack:r1;cores:8;disks:[1-4]");
        assert_eq!(read.list, parse_attributes(&read.text).expect("text").list);
        assert_eq!(read.list.len(), 3);
    }
}
