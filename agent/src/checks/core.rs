//! What is decided about a task's checks: when to probe, what a result means, when to say so, and when the task is to be
//! killed for it. The rules are those of Mesos (src/checks/).
//!
//! - The first probe begins a delay after the task's start, each later one an interval after the end of the one before: one
//!   at a time, so a slow task is not asked by ever more probes at once.
//! - A *check* tells its result when that has changed. A probe that came to no result is one without a value.
//! - A *health check* tells its first success, the first after a failure, and every failure that counts; that many in a row
//!   and the task is to be killed. Until its first success a task has a grace period, in which failures do not count.

use api::v1;
use model::time::Time;

use super::probe::{Probe, Rhythm, nanoseconds, of_check, of_health_check};

/// Which of the two that a task may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Check,
    Health,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Health => "health check",
        })
    }
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The task runs.
    Started,
    /// The probe of that *Probe* is over. What comes of others is of no interest any more.
    Probed {
        which: Which,
        number: u64,
        outcome: Outcome,
    },
    /// No probing for now: nobody could be told, or the task is being killed.
    Paused,
    Resumed,
}

/// What a probe has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command exited with this.
    Exit(i32),
    /// The server answered with this status.
    Status(u16),
    /// Whether a connection could be made.
    Connected(bool),
    /// No result: nobody answered, or not in time.
    Failed { why: String },
    /// That says nothing about the task: the prober itself was hindered.
    Hindered { why: String },
}

/// Everything that can be wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// To be answered by *Probed* with the same number, unless it is cancelled.
    Probe { which: Which, number: u64, probe: Box<Probe> },
    /// The probe that is under way is to end, with all that it has started.
    Cancel { which: Which },
    /// The check has another result: `TaskStatus.check_status`.
    Checked(Box<v1::CheckStatusInfo>),
    /// `TaskStatus.healthy`. If it kills, the task is to be killed and its end to be told with `healthy` false.
    Health { is_healthy: bool, kills: bool },
    /// A line for whoever reads the task's log.
    Note(String),
}

/// The checks of one task.
#[derive(Debug)]
pub(crate) struct Checks {
    check: Option<Check>,
    health: Option<Health>,
    is_paused: bool,
    next_number: u64,
}

#[derive(Debug)]
struct Check {
    track: Track,
    /// A result without a value.
    empty: v1::CheckStatusInfo,
    last: v1::CheckStatusInfo,
}

#[derive(Debug)]
struct Health {
    track: Track,
    grace_ns: u64,
    failures_max: u32,
    failures_count: u32,
    started: Time,
    /// It was healthy once.
    is_initialized: bool,
}

/// One probe after another.
#[derive(Debug)]
struct Track {
    probe: Probe,
    rhythm: Rhythm,
    /// Of the one that is under way.
    number: Option<u64>,
    next: Option<Time>,
}

impl Track {
    fn new((probe, rhythm): (Probe, Rhythm)) -> Self {
        Self { probe, rhythm, number: None, next: None }
    }

    /// True if it is this one that has ended; the next is due an interval from now.
    fn ended(&mut self, now: Time, number: u64) -> bool {
        if self.number != Some(number) {
            return false;
        }
        self.number = None;
        self.next = Some(now.plus_ns(self.rhythm.interval_ns));
        true
    }
}

/// A result without a value, of this check's kind: what every status of its task has until there is one.
pub(crate) fn no_result(check: &v1::CheckInfo) -> v1::CheckStatusInfo {
    use v1::check_info::Type;
    let mut status = v1::CheckStatusInfo { r#type: check.r#type, ..v1::CheckStatusInfo::default() };
    match check.r#type() {
        Type::Command => status.command = Some(v1::check_status_info::Command::default()),
        Type::Http => status.http = Some(v1::check_status_info::Http::default()),
        Type::Tcp => status.tcp = Some(v1::check_status_info::Tcp::default()),
        Type::Unknown => {}
    }
    status
}

impl Checks {
    pub(crate) fn of(task: &v1::TaskInfo) -> Self {
        let check = task.check.as_ref().and_then(|asked| {
            let empty = no_result(asked);
            Some(Check { track: Track::new(of_check(asked)?), last: empty, empty })
        });
        let health = task.health_check.as_ref().and_then(|asked| {
            Some(Health {
                track: Track::new(of_health_check(asked)?),
                grace_ns: nanoseconds(asked.grace_period_seconds()),
                failures_max: asked.consecutive_failures(),
                failures_count: 0,
                started: Time::default(),
                is_initialized: false,
            })
        });
        Self { check, health, is_paused: false, next_number: 0 }
    }

    pub(crate) fn handle(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Started => {
                if let Some(health) = &mut self.health {
                    health.started = now;
                }
                for (_, track) in self.tracks() {
                    track.next = Some(now.plus_ns(track.rhythm.delay_ns));
                }
            }
            Input::Probed { which: Which::Check, number, outcome } => {
                self.checked(now, number, outcome, effects);
            }
            Input::Probed { which: Which::Health, number, outcome } => {
                self.health_checked(now, number, outcome, effects);
            }
            Input::Paused => self.pause(effects),
            // What was due meanwhile is due now, and the first look is taken at once.
            Input::Resumed if self.is_paused => {
                self.is_paused = false;
                for (_, track) in self.tracks() {
                    track.next = track.next.map(|_| now);
                }
            }
            Input::Resumed => {}
        }
    }

    /// When to call [`Checks::expire`] though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let check = self.check.as_ref().map(|it| &it.track);
        let health = self.health.as_ref().map(|it| &it.track);
        let tracks = [check, health].into_iter().flatten().filter(|_| !self.is_paused);
        tracks.filter(|track| track.number.is_none()).filter_map(|track| track.next).min()
    }

    pub(crate) fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.is_paused {
            return;
        }
        let mut number = self.next_number;
        for (which, track) in self.tracks() {
            let is_due = track.next.is_some_and(|next| next <= now);
            if !is_due || track.number.is_some() {
                continue;
            }
            track.number = Some(number);
            effects.push(Effect::Probe { which, number, probe: Box::new(track.probe.clone()) });
            number += 1;
        }
        self.next_number = number;
    }

    fn tracks(&mut self) -> impl Iterator<Item = (Which, &mut Track)> {
        let check = self.check.as_mut().map(|it| (Which::Check, &mut it.track));
        let health = self.health.as_mut().map(|it| (Which::Health, &mut it.track));
        [check, health].into_iter().flatten()
    }

    fn pause(&mut self, effects: &mut Vec<Effect>) {
        self.is_paused = true;
        for (which, track) in self.tracks() {
            if track.number.take().is_some() {
                effects.push(Effect::Cancel { which });
            }
        }
    }

    fn checked(&mut self, now: Time, number: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(Check { track, empty, last }) = &mut self.check else { return };
        if !track.ended(now, number) {
            return;
        }
        let mut status = *empty;
        match outcome {
            Outcome::Exit(code) => {
                status.command = Some(v1::check_status_info::Command { exit_code: Some(code) });
            }
            Outcome::Status(code) => {
                status.http = Some(v1::check_status_info::Http { status_code: Some(code.into()) });
            }
            Outcome::Connected(succeeded) => {
                status.tcp = Some(v1::check_status_info::Tcp { succeeded: Some(succeeded) });
            }
            Outcome::Failed { why } => effects.push(Effect::Note(format!("check failed: {why}"))),
            Outcome::Hindered { why } => {
                return effects.push(Effect::Note(format!("check not possible: {why}")));
            }
        }
        if status != *last {
            *last = status;
            effects.push(Effect::Checked(Box::new(status)));
        }
    }

    fn health_checked(&mut self, now: Time, number: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(health) = &mut self.health else { return };
        if !health.track.ended(now, number) {
            return;
        }
        let why = match outcome {
            Outcome::Exit(0) | Outcome::Status(200..400) | Outcome::Connected(true) => {
                return health.succeeded(effects);
            }
            Outcome::Hindered { why } => {
                return effects.push(Effect::Note(format!("health check not possible: {why}")));
            }
            Outcome::Exit(code) => format!("the command exited with status {code}"),
            Outcome::Status(code) => format!("unexpected HTTP status {code}"),
            Outcome::Connected(false) => "no TCP connection could be made".to_owned(),
            Outcome::Failed { why } => why,
        };
        health.failed(now, &why, effects);
    }
}

impl Health {
    fn succeeded(&mut self, effects: &mut Vec<Effect>) {
        if !self.is_initialized || self.failures_count > 0 {
            effects.push(Effect::Health { is_healthy: true, kills: false });
        }
        self.is_initialized = true;
        self.failures_count = 0;
    }

    fn failed(&mut self, now: Time, why: &str, effects: &mut Vec<Effect>) {
        let is_in_grace = self.grace_ns > 0 && now <= self.started.plus_ns(self.grace_ns);
        if !self.is_initialized && is_in_grace {
            let text = format!("health check failed within the grace period, which does not count: {why}");
            return effects.push(Effect::Note(text));
        }
        self.failures_count = self.failures_count.saturating_add(1);
        let (count, most) = (self.failures_count, self.failures_max);
        effects.push(Effect::Note(format!("health check failed, {count} of {most} times in a row: {why}")));
        effects.push(Effect::Health { is_healthy: false, kills: count >= most });
    }
}
