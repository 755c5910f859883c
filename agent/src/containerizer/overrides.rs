//! Limits that an operator has set for one container while it runs, in place of those that follow from what it was given and
//! from the agent's flags. Decides; looks at nothing.

use std::collections::BTreeMap;

use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resources};

use super::limits::{Ceiling, EGRESS};
use crate::cgroup::extras::IoMax;

/// Processes and threads. No resource: nobody offers them.
pub const PIDS: &str = "pids";
/// What can be set: CPUs, MiB, processes, MiB a second.
const NAMES: [&str; 4] = [CPUS, MEM, PIDS, EGRESS];
/// What stands for all of `io_max` where a limit is to be unset.
const IO: &str = "io_max";

/// What was set so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    limits: BTreeMap<&'static str, Ceiling>,
    io_max: Vec<IoMax>,
}

/// What an operator asks for. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// As `TaskInfo.limits`: infinity is no limit.
    pub limits: Vec<(String, f64)>,
    /// Lines of `io.max`.
    pub io_max: Vec<String>,
    /// Names of limits that are to follow again from what the container was given.
    pub unset: Vec<String>,
}

/// What cannot be, by its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    #[error("Nothing is to be changed: expecting 'limits', 'io_max' or 'unset'")]
    Nothing,
    #[error("'{field}': there is no limit '{name}'; expecting cpus, mem, pids or egress_bandwidth")]
    Unknown { field: &'static str, name: String },
    #[error("'limits.{name}': expecting more than zero, or Infinity")]
    NotPositive { name: String },
    #[error("'limits.{name}': {asked} is more than this agent has ({total}); Infinity is no limit")]
    MoreThanThereIs { name: &'static str, asked: Quantity, total: Quantity },
    #[error("'limits.{name}': expecting a whole number")]
    NotWhole { name: &'static str },
    #[error("'io_max': {why}")]
    Io { why: String },
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `None`: nobody has set it.
    pub fn of(&self, name: &str) -> Option<Ceiling> {
        self.limits.get(name).copied()
    }

    pub fn io_max(&self) -> &[IoMax] {
        &self.io_max
    }

    /// In the order of their names.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, Ceiling)> {
        self.limits.iter().map(|(name, ceiling)| (*name, *ceiling))
    }

    /// As they were written down. What is not understood is left out: an agent that knew more wrote it.
    pub fn remembered(limits: impl IntoIterator<Item = (String, Ceiling)>, io_max: &[String]) -> Self {
        let known = |(name, ceiling): (String, Ceiling)| Some((known(&name)?, ceiling));
        Self {
            limits: limits.into_iter().filter_map(known).collect(),
            io_max: io_max.iter().filter_map(|line| IoMax::parse(line).ok()).collect(),
        }
    }

    /// With a change, on an agent that has `total`.
    ///
    /// # Errors
    /// What cannot be; nothing of it is then.
    pub fn changed(&self, change: &Change, total: &Resources) -> Result<Self, BadLimit> {
        if *change == Change::default() {
            return Err(BadLimit::Nothing);
        }
        let mut new = self.clone();
        for name in &change.unset {
            if name == IO {
                new.io_max.clear();
                continue;
            }
            let unknown = || BadLimit::Unknown { field: "unset", name: name.clone() };
            new.limits.remove(known(name).ok_or_else(unknown)?);
        }
        for (name, value) in &change.limits {
            let unknown = || BadLimit::Unknown { field: "limits", name: name.clone() };
            let known = known(name).ok_or_else(unknown)?;
            new.limits.insert(known, ceiling(known, *value, total)?);
        }
        for line in &change.io_max {
            let line = IoMax::parse(line).map_err(|why| BadLimit::Io { why })?;
            new.io_max.retain(|it| it.device() != line.device());
            new.io_max.push(line);
        }
        Ok(new)
    }
}

fn known(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|it| *it == name)
}

fn ceiling(name: &'static str, value: f64, total: &Resources) -> Result<Ceiling, BadLimit> {
    if value == f64::INFINITY {
        return Ok(Ceiling::Unlimited);
    }
    let amount = api::convert::quantity::from_f64(value).filter(|it| !it.is_zero());
    let amount = amount.ok_or_else(|| BadLimit::NotPositive { name: name.to_owned() })?;
    if name == PIDS && amount.milli() % 1000 != 0 {
        return Err(BadLimit::NotWhole { name });
    }
    // What is promised to it is the master's business; that the machine has no more is ours.
    let has = total.scalar(name);
    if [CPUS, MEM].contains(&name) && amount > has {
        return Err(BadLimit::MoreThanThereIs { name, asked: amount, total: has });
    }
    Ok(Ceiling::At(amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::Resource;

    fn total() -> Resources {
        let parts = [
            Resource::scalar(CPUS, Quantity::from_units(4)),
            Resource::scalar(MEM, Quantity::from_units(1024)),
        ];
        parts.into_iter().collect()
    }

    fn change(limits: &[(&str, f64)]) -> Change {
        let limits = limits.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Change { limits, ..Change::default() }
    }

    #[test]
    fn what_is_named_is_changed_and_the_rest_stays() {
        let first = change(&[(CPUS, 1.5), (MEM, 256.0), (PIDS, 64.0), (EGRESS, 4.0)]);
        let set = Overrides::default().changed(&first, &total()).expect("good");
        let at = |milli| Some(Ceiling::At(Quantity::from_milli(milli)));
        assert_eq!(
            [CPUS, MEM, PIDS, EGRESS].map(|it| set.of(it)),
            [at(1500), at(256_000), at(64_000), at(4000)]
        );
        let then = Change { unset: vec![MEM.into(), "io_max".into()], ..change(&[(CPUS, f64::INFINITY)]) };
        let set = set.changed(&then, &total()).expect("good");
        assert_eq!([CPUS, MEM, PIDS].map(|it| set.of(it)), [Some(Ceiling::Unlimited), None, at(64_000)]);
        let line = |line: &str| Change { io_max: vec![line.to_owned()], ..Change::default() };
        let set = set.changed(&line("8:0 rbps=1"), &total()).expect("good");
        let set = set.changed(&line("8:1 rbps=2"), &total()).expect("good");
        let set = set.changed(&line("8:0 wbps=3"), &total()).expect("good");
        assert_eq!(set.io_max().iter().map(IoMax::as_str).collect::<Vec<_>>(), ["8:1 rbps=2", "8:0 wbps=3"]);
        let limits = set.limits().map(|(name, ceiling)| (name.to_owned(), ceiling));
        let lines: Vec<_> = set.io_max().iter().map(|it| it.as_str().to_owned()).collect();
        assert_eq!(Overrides::remembered(limits, &lines), set);
    }

    #[test]
    fn what_cannot_be_names_its_field() {
        let told = |change: &Change| {
            Overrides::default().changed(change, &total()).expect_err("it is bad").to_string()
        };
        let limit = |name, value| told(&change(&[(name, value)]));
        assert_eq!(
            told(&Change::default()),
            "Nothing is to be changed: expecting 'limits', 'io_max' or 'unset'"
        );
        assert!(limit("disk", 1.0).starts_with("'limits': there is no limit 'disk'"));
        for bad in [0.0, -1.0, f64::NAN, 0.0001] {
            assert_eq!(limit(CPUS, bad), "'limits.cpus': expecting more than zero, or Infinity");
        }
        assert_eq!(
            limit(CPUS, 9.0),
            "'limits.cpus': 9 is more than this agent has (4); Infinity is no limit"
        );
        assert!(limit(MEM, 1025.0).starts_with("'limits.mem': 1025 is more than"));
        assert_eq!(limit(PIDS, 1.5), "'limits.pids': expecting a whole number");
        let io = Change { io_max: vec!["8:0 rbps=0".into()], ..Change::default() };
        assert!(told(&io).starts_with("'io_max': expected a device"));
        let unset = Change { unset: vec!["swap".into()], ..Change::default() };
        assert!(told(&unset).starts_with("'unset': there is no limit 'swap'"));
    }
}
