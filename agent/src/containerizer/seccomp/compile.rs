//! From a profile to programs for the kernel.
//!
//! The compiler makes filters with one action for what matches and one for what does not; a profile has several. So it
//! becomes several filters, of which the kernel takes the strictest answer: for each action one that lets everything else
//! through; and one that lets through whatever any rule names, and does by default what the profile says.

use std::collections::BTreeMap;
use std::str::FromStr;

use api::v1::capability_info::Capability;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use syscalls::Sysno;

use super::profile::{Arg, Group, Profile, When};

/// By number of the call; a call without rules is meant whatever its arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const EPERM: u32 = 1;

/// The last is to be installed last.
///
/// # Errors
/// Says which part of the profile has no meaning here. Names of calls that this machine does not have are not errors:
/// profiles are written for all machines.
pub(super) fn filters(profile: &Profile, capabilities: u64) -> Result<Vec<Vec<u8>>, String> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut by_action: Vec<(SeccompAction, Rules)> = Vec::new();
    let mut all = Rules::new();
    for group in &profile.syscalls {
        if !holds(&group.includes, capabilities)? || is_excluded(&group.excludes, capabilities)? {
            continue;
        }
        let action = action(&group.action, group.errno_ret)?;
        let rules = rules(group)?;
        for number in numbers(group) {
            add(&mut all, number, &rules);
            if action == SeccompAction::Allow {
                continue;
            }
            let found = by_action.iter().position(|(other, _)| *other == action);
            let place = found.unwrap_or_else(|| {
                by_action.push((action.clone(), Rules::new()));
                by_action.len() - 1
            });
            add(&mut by_action[place].1, number, &rules);
        }
    }
    let mut filters = Vec::new();
    for (action, rules) in by_action {
        filters.push(compiled(rules, SeccompAction::Allow, action)?);
    }
    if default != SeccompAction::Allow {
        filters.push(compiled(all, default, SeccompAction::Allow)?);
    }
    Ok(filters)
}

fn add(rules: &mut Rules, number: i64, more: &[SeccompRule]) {
    match rules.get_mut(&number) {
        // Without conditions it matches always, and so it does with others beside.
        Some(known) if known.is_empty() || more.is_empty() => known.clear(),
        Some(known) => known.extend(more.iter().cloned()),
        None => _ = rules.insert(number, more.to_vec()),
    }
}

fn compiled(rules: Rules, other: SeccompAction, matching: SeccompAction) -> Result<Vec<u8>, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let filter = SeccompFilter::new(rules, other, matching, arch).map_err(|error| error.to_string())?;
    let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
    let bytes = |it: &seccompiler::sock_filter| {
        let [code_low, code_high] = it.code.to_ne_bytes();
        let [a, b, c, d] = it.k.to_ne_bytes();
        [code_low, code_high, it.jt, it.jf, a, b, c, d]
    };
    Ok(program.iter().flat_map(bytes).collect())
}

fn numbers(group: &Group) -> impl Iterator<Item = i64> {
    let names = group.names.iter().chain(&group.name);
    names.filter_map(|name| Sysno::from_str(name).ok()).map(|number| i64::from(number.id()))
}

/// All conditions have to hold, but of several on one argument any.
fn rules(group: &Group) -> Result<Vec<SeccompRule>, String> {
    if group.args.is_empty() {
        return Ok(Vec::new());
    }
    let conditions = group.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let has_twins = group
        .args
        .iter()
        .enumerate()
        .any(|(at, arg)| group.args[..at].iter().any(|it| it.index == arg.index));
    let rules =
        if has_twins { conditions.into_iter().map(|it| vec![it]).collect() } else { vec![conditions] };
    rules.into_iter().map(|it| SeccompRule::new(it).map_err(|error| error.to_string())).collect()
}

fn condition(arg: &Arg) -> Result<SeccompCondition, String> {
    let (operator, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, arg.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, arg.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, arg.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, arg.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, arg.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, arg.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
        other => return Err(format!("unknown op '{other}'")),
    };
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Qword, operator, value)
        .map_err(|error| error.to_string())
}

fn action(name: &str, errno: Option<u32>) -> Result<SeccompAction, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(0)),
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        other => return Err(format!("action '{other}' is not supported")),
    })
}

/// Everything that a rule wants has to be there.
fn holds(when: &When, capabilities: u64) -> Result<bool, String> {
    let mut has_all = true;
    for name in &when.caps {
        has_all &= has(name, capabilities)?;
    }
    Ok(has_all && (when.arches.is_empty() || is_here(&when.arches)) && is_new_enough(when)?)
}

/// Anything that a rule does not go with is enough.
fn is_excluded(when: &When, capabilities: u64) -> Result<bool, String> {
    let mut has_any = false;
    for name in &when.caps {
        has_any |= has(name, capabilities)?;
    }
    Ok(has_any || is_here(&when.arches) || (when.min_kernel.is_some() && is_new_enough(when)?))
}

fn has(name: &str, capabilities: u64) -> Result<bool, String> {
    let known = name.strip_prefix("CAP_").and_then(Capability::from_str_name);
    let known = known.ok_or_else(|| format!("unknown capability '{name}'"))?;
    Ok(capabilities >> (known as i32 - Capability::Chown as i32) & 1 == 1)
}

/// Profiles say `amd64`, and `x32` and `x86` beside it for other ways to call the same kernel.
fn is_here(arches: &[String]) -> bool {
    let here = if cfg!(target_arch = "aarch64") { ["arm64", "aarch64"] } else { ["amd64", "x86_64"] };
    arches.iter().any(|arch| here.contains(&arch.as_str()))
}

fn is_new_enough(when: &When) -> Result<bool, String> {
    let Some(least) = &when.min_kernel else { return Ok(true) };
    let release = nix::sys::utsname::uname().map_err(|error| error.to_string())?;
    let release = release.release().to_string_lossy().into_owned();
    let parse = |text: &str| {
        let mut numbers = text.split(|it: char| !it.is_ascii_digit()).map_while(|it| it.parse::<u32>().ok());
        numbers.next().zip(numbers.next())
    };
    let least = parse(least).ok_or_else(|| format!("'{least}' is no version of a kernel"))?;
    Ok(parse(&release).is_none_or(|here| here >= least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(profile: &str, capabilities: u64) -> Result<Vec<usize>, String> {
        let profile = serde_json::from_str(profile).expect("JSON");
        Ok(filters(&profile, capabilities)?.iter().map(Vec::len).collect())
    }

    #[test]
    fn a_profile_becomes_a_filter_for_each_action_and_one_for_the_rest() {
        let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW", "args": null},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "kill", "action": "SCMP_ACT_KILL_PROCESS",
             "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]}"#;
        let [everybody, admin] = [0, u64::MAX].map(|it| lengths(profile, it).expect("good").len());
        assert_eq!((everybody, admin), (3, 2), "clone3 is nobody's matter for who may administer");
    }

    #[test]
    fn what_has_no_meaning_is_told() {
        let check = |profile: &str, expect: &str| assert_eq!(lengths(profile, 0), Err(expect.to_owned()));
        check(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "action 'SCMP_ACT_NOTIFY' is not supported");
        let group = |rest: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_LOG", {rest}}}]}}"#
            )
        };
        check(&group(r#""includes": {"caps": ["SYS_ADMIN"]}"#), "unknown capability 'SYS_ADMIN'");
        check(&group(r#""includes": {"minKernel": "x"}"#), "'x' is no version of a kernel");
        check(&group(r#""args": [{"index": 0, "value": 1, "op": "EQ"}]"#), "unknown op 'EQ'");
    }
}
