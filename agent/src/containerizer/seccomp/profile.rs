//! A profile in the form that Docker defined and Mesos takes over: JSON, system calls by name.

use serde::Deserialize;

/// Fields that say for which machines it is are not looked at: a filter is for this one, and kills what is of another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) default_action: String,
    pub(super) default_errno_ret: Option<u32>,
    #[serde(default)]
    pub(super) syscalls: Vec<Group>,
}

/// System calls that are treated alike.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    #[serde(default)]
    pub(super) names: Vec<String>,
    /// An older form.
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) args: Vec<Arg>,
    #[serde(default)]
    pub(super) includes: When,
    #[serde(default)]
    pub(super) excludes: When,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Arg {
    pub(super) index: u8,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct When {
    #[serde(default)]
    pub(super) caps: Vec<String>,
    #[serde(default)]
    pub(super) arches: Vec<String>,
    pub(super) min_kernel: Option<String>,
}

/// Programs that write profiles write `"args": null` for none.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Arg>, D::Error> {
    Ok(Option::<Vec<Arg>>::deserialize(deserializer)?.unwrap_or_default())
}
