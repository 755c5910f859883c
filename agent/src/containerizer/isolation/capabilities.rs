//! Which capabilities a container gets, from `LinuxInfo` and what the operator allows.

use api::v1;
use api::v1::CapabilityInfo;
use api::v1::capability_info::Capability;

use super::asked::{Policy, cannot};
use super::confinement::Capabilities;
use crate::containerizer::plan::PlanError;

const EFFECTIVE: &str = "container.linux_info.effective_capabilities";
const BOUNDING: &str = "container.linux_info.bounding_capabilities";
const OLD: &str = "container.linux_info.capability_info";

/// In Mesos' enumeration the kernel's number n is this plus n.
const FIRST: i32 = Capability::Chown as i32;

/// What a container names.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    effective: Option<u64>,
    bounding: Option<u64>,
    /// By which field the effective ones were named.
    field: &'static str,
}

/// Bit n for the kernel's number n. `None`: one of them is none.
pub fn set(info: &CapabilityInfo) -> Option<u64> {
    info.capabilities.iter().try_fold(0, |set, capability| {
        let number = u32::try_from(capability - FIRST).ok().filter(|number| *number < u64::BITS)?;
        Some(set | 1 << number)
    })
}

/// `None`: it names none. With the first field that does.
pub(super) fn asked(linux: &v1::LinuxInfo) -> Result<Option<(&'static str, Asked)>, PlanError> {
    let known = |field: &'static str, info: &Option<CapabilityInfo>| match info {
        Some(info) => set(info).map(Some).ok_or_else(|| cannot(field, "a capability that is unknown")),
        None => Ok(None),
    };
    let (old, effective) =
        (known(OLD, &linux.capability_info)?, known(EFFECTIVE, &linux.effective_capabilities)?);
    let bounding = known(BOUNDING, &linux.bounding_capabilities)?;
    if old.is_some() && effective.is_some() {
        return Err(cannot(OLD, "effective_capabilities is there as well"));
    }
    let field = if old.is_some() { OLD } else { EFFECTIVE };
    let asked = Asked { effective: old.or(effective), bounding, field };
    Ok(match (asked.effective, asked.bounding) {
        (Some(_), _) => Some((field, asked)),
        (None, Some(_)) => Some((BOUNDING, asked)),
        (None, None) => None,
    })
}

/// The operator's bounding set is the most that anybody gets; his effective set is for who names none.
pub(super) fn given(policy: &Policy, asked: Asked) -> Result<Capabilities, PlanError> {
    let Asked { effective, bounding, field } = asked;
    let most = policy.bounding.unwrap_or(u64::MAX);
    if let Some(bounding) = bounding.filter(|set| set & !most != 0) {
        return Err(cannot(BOUNDING, format!("the operator does not allow {}", names(bounding & !most))));
    }
    // Who names only what he begins with cannot ever get more.
    let bounding = bounding.or(effective.filter(|_| policy.bounding.is_none())).unwrap_or(most);
    if let Some(effective) = effective.filter(|set| set & !bounding != 0) {
        let why = format!("{} are not in the bounding set", names(effective & !bounding));
        return Err(cannot(field, why));
    }
    let effective = effective.or(policy.effective.map(|set| set & bounding));
    Ok(Capabilities { effective, bounding })
}

fn names(set: u64) -> String {
    let numbers = (0..u64::BITS).filter(|number| set >> number & 1 == 1);
    let names = numbers.map(|number| match Capability::try_from(FIRST + number.cast_signed()) {
        Ok(capability) => capability.as_str_name().to_owned(),
        Err(_) => number.to_string(),
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(capabilities: &[Capability]) -> Option<CapabilityInfo> {
        Some(CapabilityInfo { capabilities: capabilities.iter().map(|it| *it as i32).collect() })
    }

    fn told(policy: &Policy, linux: &v1::LinuxInfo) -> Result<Capabilities, String> {
        let asked = asked(linux).map_err(|error| error.to_string())?.expect("it names some").1;
        given(policy, asked).map_err(|error| error.to_string())
    }

    const CHOWN: u64 = 1;
    const NET_RAW: u64 = 1 << 13;

    #[test]
    fn a_container_gets_what_it_names_as_far_as_the_operator_allows() {
        let effective_capabilities = info(&[Capability::Chown]);
        let linux = v1::LinuxInfo { effective_capabilities, ..v1::LinuxInfo::default() };
        let only = Capabilities { effective: Some(CHOWN), bounding: CHOWN };
        assert_eq!(told(&Policy::default(), &linux), Ok(only));
        let policy =
            Policy { bounding: Some(CHOWN | NET_RAW), effective: Some(NET_RAW), ..Policy::default() };
        let allowed = Capabilities { effective: Some(CHOWN), bounding: CHOWN | NET_RAW };
        assert_eq!(told(&policy, &linux), Ok(allowed));
        let bounding_capabilities = info(&[Capability::NetRaw]);
        let linux = v1::LinuxInfo { bounding_capabilities, ..v1::LinuxInfo::default() };
        let usual = Capabilities { effective: Some(NET_RAW), bounding: NET_RAW };
        assert_eq!(told(&policy, &linux), Ok(usual));
    }

    #[test]
    fn more_than_is_allowed_is_refused_by_name() {
        let policy = Policy { bounding: Some(CHOWN), ..Policy::default() };
        let linux =
            v1::LinuxInfo { bounding_capabilities: info(&[Capability::NetRaw]), ..v1::LinuxInfo::default() };
        let expect =
            "container.linux_info.bounding_capabilities cannot be had: the operator does not allow NET_RAW";
        assert_eq!(told(&policy, &linux), Err(expect.to_owned()));
        let linux =
            v1::LinuxInfo { capability_info: info(&[Capability::SysAdmin]), ..v1::LinuxInfo::default() };
        let expect =
            "container.linux_info.capability_info cannot be had: SYS_ADMIN are not in the bounding set";
        assert_eq!(told(&policy, &linux), Err(expect.to_owned()));
        let unknown = Some(CapabilityInfo { capabilities: vec![7] });
        let linux = v1::LinuxInfo { effective_capabilities: unknown, ..v1::LinuxInfo::default() };
        let expect =
            "container.linux_info.effective_capabilities cannot be had: a capability that is unknown";
        assert_eq!(told(&policy, &linux), Err(expect.to_owned()));
    }
}
