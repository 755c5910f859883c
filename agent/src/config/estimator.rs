//! Flags of the estimator, which says what may be offered as revocable.

use crate::config::{Switch, offered};
use crate::duration;
use crate::estimator::core::{Estimate, Method, Settings};
use crate::estimator::predictor::Kind;
use crate::estimator::series::RECENT;
use clap::ValueEnum;
use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resource, Resources};
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub struct EstimatorFlags {
    /// What may be offered as revocable beside what the agent has: nothing ("none"), always the same ("fixed"), or what tasks
    /// were given less what they are predicted to use ("usage")
    #[arg(long, env = "MESOS_RESOURCE_ESTIMATOR", value_enum, default_value_t = Estimator::None)]
    pub resource_estimator: Estimator,

    /// For the estimator "fixed": how much, as "cpus:4;mem:1024" [default: nothing]
    #[arg(long, env = "INGOT_ESTIMATOR_RESOURCES", value_parser = parse_fixed, value_name = "RESOURCES")]
    pub estimator_resources: Option<Resources>,

    /// For the estimator "usage": how the most that tasks will use is predicted; docs/oversubscription.md compares them
    #[arg(long, env = "INGOT_ESTIMATOR_PREDICTOR", value_enum, default_value_t = Predictor::Reach)]
    pub estimator_predictor: Predictor,

    /// Length of a step of the predictors: they look at some two hours of 5mins, and say what is used at most in the next one
    #[arg(long, env = "INGOT_ESTIMATOR_STEP", default_value = "5mins", value_parser = parse_step,
          value_name = "DURATION")]
    pub estimator_step: u64,

    /// Part of the machine that counts as used though it is not
    #[arg(long, env = "INGOT_ESTIMATOR_FLOOR", default_value = "0.05", value_parser = parse_floor,
          value_name = "0 TO 1")]
    pub estimator_floor: PerMille,

    /// Estimate memory too, by a stricter predictor of its own
    #[arg(long, env = "INGOT_ESTIMATOR_MEMORY", value_enum, default_value_t = Switch::Off)]
    pub estimator_memory: Switch,

    /// How often the master is told another estimate, at most
    #[arg(long, env = "MESOS_OVERSUBSCRIBED_RESOURCES_INTERVAL", default_value = "1secs",
          value_parser = parse_interval, value_name = "DURATION")]
    pub oversubscribed_resources_interval: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Estimator {
    None,
    Fixed,
    Usage,
}

/// The names are those of [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Predictor {
    Limits,
    P99,
    Sigma,
    Max,
    Reach,
}

/// Of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMille(u64);

/// More is a slip of the pen.
const CPUS_MAX: Quantity = Quantity::from_units(1_000_000);
/// A look that is so old says nothing: ten of them were missed, or this long none was to be expected.
const STALE_MS_MIN: u64 = 10_000;

impl EstimatorFlags {
    /// `usage_interval_ms`: how often containers are looked at.
    pub(crate) fn settings(&self, usage_interval_ms: u64) -> Settings {
        Settings {
            method: match self.resource_estimator {
                Estimator::None => Method::None,
                Estimator::Fixed => Method::Fixed(self.fixed()),
                Estimator::Usage => Method::Usage(self.estimator_predictor.kind()),
            },
            step_ms: self.estimator_step,
            warm_up: RECENT,
            floor_per_mille: self.estimator_floor.0,
            with_memory: self.estimator_memory == Switch::On,
            send_interval_ms: self.oversubscribed_resources_interval,
            hold_ms: self.estimator_step,
            stale_ms: STALE_MS_MIN.max(10 * usage_interval_ms),
        }
    }

    fn fixed(&self) -> Estimate {
        let amount = |name| self.estimator_resources.as_ref().map_or(0, |it| it.scalar(name).milli());
        let memory_bytes = (u128::from(amount(MEM)) * (1 << 20) / 1000) as u64;
        Estimate { cpus_milli: amount(CPUS), memory_bytes }
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        let estimator = self.resource_estimator.to_possible_value();
        flags.extend([
            ("estimator_floor", (self.estimator_floor.0 as f64 / 1000.0).to_string()),
            ("estimator_memory", if self.estimator_memory == Switch::On { "on" } else { "off" }.to_owned()),
            ("estimator_predictor", self.estimator_predictor.kind().as_str().to_owned()),
            ("estimator_step", duration::show_ms(self.estimator_step)),
            ("oversubscribed_resources_interval", duration::show_ms(self.oversubscribed_resources_interval)),
            ("resource_estimator", estimator.map(|it| it.get_name().to_owned()).unwrap_or_default()),
        ]);
        if let Some(resources) = &self.estimator_resources {
            flags.insert("estimator_resources", resources.to_string());
        }
    }
}

impl Predictor {
    fn kind(self) -> Kind {
        match self {
            Self::Limits => Kind::Limits,
            Self::P99 => Kind::P99,
            Self::Sigma => Kind::Sigma,
            Self::Max => Kind::Max,
            Self::Reach => Kind::Reach,
        }
    }
}

/// CPUs and memory: nothing else of a machine is there twice.
fn parse_fixed(text: &str) -> Result<Resources, String> {
    let resources = offered::parse_resources(text)?;
    let is_other = |part: &&Resource| !matches!(&*part.name, CPUS | MEM) || !part.reservations.is_empty();
    if let Some(part) = resources.iter().find(is_other) {
        return Err(format!("{}: expected unreserved cpus and mem only", part.name));
    }
    if resources.scalar(CPUS) > CPUS_MAX {
        return Err("expected at most 1,000,000 cpus".to_owned());
    }
    Ok(resources)
}

fn parse_step(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 1000..=3_600_000 => Ok(ms),
        _ => Err("expected 1secs to 1hrs".to_owned()),
    }
}

fn parse_interval(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 1000..=3_600_000 => Ok(ms),
        _ => Err("expected 1secs to 1hrs".to_owned()),
    }
}

fn parse_floor(text: &str) -> Result<PerMille, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(PerMille((part * 1e3).round() as u64)),
        _ => Err("expected a number from 0 to 1 (such as '0.05')".to_owned()),
    }
}
