//! `--allowed-devices`: Mesos' DeviceWhitelist as JSON, with the numbers of each device looked up.

use crate::bpf::hold::{Kind, Rule};
use api::v1;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// What the operator allows.
#[derive(Clone, Debug)]
pub enum Allowed {
    /// Every device there is.
    All,
    /// These beside the usual ones.
    Also { text: String, rules: Vec<Rule> },
}

impl Allowed {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Also { text, .. } => text,
        }
    }
}

/// As a clap value parser. Asks the machine which devices the paths are.
pub(super) fn parse(text: &str) -> Result<Allowed, String> {
    if text == "all" {
        return Ok(Allowed::All);
    }
    let list: v1::DeviceWhitelist = api::json::from_slice(text.as_bytes()).map_err(|error| {
        format!("{error}; expected all, or JSON (such as '{{\"allowed_devices\": [{{\"device\": {{\"path\": \"/dev/kvm\"}}, \"access\": {{\"read\": true, \"write\": true}}}}]}}')")
    })?;
    let rules = list.allowed_devices.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(Allowed::Also { text: text.to_owned(), rules })
}

fn rule(allowed: &v1::DeviceAccess) -> Result<Rule, String> {
    let path = allowed.device.path.as_deref().ok_or("a device without a path")?;
    let found = std::fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
    let kind = match found.file_type() {
        it if it.is_char_device() => Kind::Char,
        it if it.is_block_device() => Kind::Block,
        _ => return Err(format!("{path} is no device")),
    };
    let number = |number: u64| u32::try_from(number).map_err(|_| format!("{path}: number {number}"));
    let (major, minor) = (nix::sys::stat::major(found.rdev()), nix::sys::stat::minor(found.rdev()));
    let access = [
        (allowed.access.read(), Rule::READ),
        (allowed.access.write(), Rule::WRITE),
        (allowed.access.mknod(), Rule::MKNOD),
    ];
    let access = access.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, bit)| all | bit);
    if access == 0 {
        return Err(format!("{path}: neither read, write nor mknod"));
    }
    Ok(Rule { kind, major: Some(number(major)?), minor: Some(number(minor)?), access })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_the_numbers_of_its_device() {
        let text = r#"{"allowed_devices": [
            {"device": {"path": "/dev/null"}, "access": {"read": true}},
            {"device": {"path": "/dev/zero"}, "access": {"read": true, "write": true, "mknod": true}}]}"#;
        let Ok(Allowed::Also { rules, .. }) = parse(text) else { panic!("it is good") };
        let of = |minor, access| Rule { kind: Kind::Char, major: Some(1), minor: Some(minor), access };
        assert_eq!(rules, [of(3, Rule::READ), of(5, Rule::READ | Rule::WRITE | Rule::MKNOD)]);
        assert!(matches!(parse("all"), Ok(Allowed::All)));
        for (bad, why) in [
            (r#"{"allowed_devices": [{"device": {"path": "/"}, "access": {"read": true}}]}"#, "is no device"),
            (r#"{"allowed_devices": [{"device": {"path": "/dev/null"}, "access": {}}]}"#, "neither read"),
            (r#"{"allowed_devices": [{"device": {"path": "/no"}, "access": {"read": true}}]}"#, "/no: "),
            (r#"{"allowed_devices": [{"device": {}, "access": {"read": true}}]}"#, "without a path"),
        ] {
            let told = parse(bad).expect_err(bad);
            assert!(told.contains(why), "{told}");
        }
    }
}
