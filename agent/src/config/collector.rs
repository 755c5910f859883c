//! Flags of the collector, which deletes what is over.

use crate::collector::core::Settings;
use crate::duration;
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub struct CollectorFlags {
    /// How long sandboxes and checkpoints of executors that are over are kept, at most; shorter as the disk fills
    #[arg(long, env = "MESOS_GC_DELAY", default_value = "1weeks",
          value_parser = duration::parse_ms, value_name = "DURATION")]
    pub gc_delay: u64,

    /// Part of the disk that is to stay free: what is over may be as old as
    /// gc-delay * max(0, 1 - gc-disk-headroom - part in use)
    #[arg(long, env = "MESOS_GC_DISK_HEADROOM", default_value = "0.1",
          value_parser = parse_part, value_name = "0 TO 1")]
    pub gc_disk_headroom: Part,

    /// How often the disk is looked at
    #[arg(long, env = "MESOS_DISK_WATCH_INTERVAL", default_value = "1mins",
          value_parser = parse_interval, value_name = "DURATION")]
    pub disk_watch_interval: u64,
}

/// Of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(u64);

fn parse_part(text: &str) -> Result<Part, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(Part((part * 1e6).round() as u64)),
        _ => Err("expected a number from 0 to 1 (such as '0.1')".to_owned()),
    }
}

fn parse_interval(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 10.. => Ok(ms),
        _ => Err("expected 10ms or more".to_owned()),
    }
}

impl CollectorFlags {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            delay_ms: self.gc_delay,
            headroom_ppm: self.gc_disk_headroom.0,
            watch_interval_ms: self.disk_watch_interval,
        }
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        flags.extend([
            ("disk_watch_interval", duration::show_ms(self.disk_watch_interval)),
            ("gc_delay", duration::show_ms(self.gc_delay)),
            ("gc_disk_headroom", (self.gc_disk_headroom.0 as f64 / 1e6).to_string()),
        ]);
    }
}
