//! From what a framework asks for to what is to be probed and when. Decides; nothing is probed here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::v1;
use api::v1::network_info::Protocol;
use api::v1::{check_info, health_check};

/// One look at a task, to be taken again and again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probe {
    pub(crate) target: Target,
    /// `None`: for as long as it takes.
    pub(crate) timeout_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// To be run where the task is, as its user.
    Command(Box<v1::CommandInfo>),
    Http {
        is_tls: bool,
        address: IpAddr,
        port: u32,
        path: String,
    },
    Tcp {
        address: IpAddr,
        port: u32,
    },
}

/// When to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rhythm {
    /// From the task's start to the first probe.
    pub(crate) delay_ns: u64,
    /// From the end of one to the begin of the next.
    pub(crate) interval_ns: u64,
}

/// An interval of zero, which Mesos permits, must not make an executor of its task's whole CPU share.
const INTERVAL_NS_MIN: u64 = 10_000_000;

impl Rhythm {
    fn of(delay_seconds: f64, interval_seconds: f64) -> Self {
        let interval_ns = nanoseconds(interval_seconds).max(INTERVAL_NS_MIN);
        Self { delay_ns: nanoseconds(delay_seconds), interval_ns }
    }
}

/// `None`: it names no kind, which the master refuses.
pub(crate) fn of_check(asked: &v1::CheckInfo) -> Option<(Probe, Rhythm)> {
    use check_info::Type;
    let loopback = loopback(Protocol::IPv4);
    let target = match asked.r#type() {
        Type::Command => Target::Command(Box::new(asked.command.as_ref()?.command.clone())),
        Type::Http => {
            let http = asked.http.as_ref()?;
            let path = http.path.clone().unwrap_or_default();
            Target::Http { is_tls: false, address: loopback, port: http.port, path }
        }
        Type::Tcp => Target::Tcp { address: loopback, port: asked.tcp.as_ref()?.port },
        Type::Unknown => return None,
    };
    let probe = Probe { target, timeout_ns: timeout(asked.timeout_seconds()) };
    Some((probe, Rhythm::of(asked.delay_seconds(), asked.interval_seconds())))
}

/// As [`of_check`].
pub(crate) fn of_health_check(asked: &v1::HealthCheck) -> Option<(Probe, Rhythm)> {
    use health_check::Type;
    let target = match asked.r#type() {
        Type::Command => Target::Command(Box::new(asked.command.clone()?)),
        Type::Http => {
            let http = asked.http.as_ref()?;
            Target::Http {
                is_tls: http.scheme.as_deref() == Some("https"),
                address: loopback(http.protocol()),
                port: http.port,
                path: http.path.clone().unwrap_or_default(),
            }
        }
        Type::Tcp => {
            let tcp = asked.tcp.as_ref()?;
            Target::Tcp { address: loopback(tcp.protocol()), port: tcp.port }
        }
        Type::Unknown => return None,
    };
    let probe = Probe { target, timeout_ns: timeout(asked.timeout_seconds()) };
    Some((probe, Rhythm::of(asked.delay_seconds(), asked.interval_seconds())))
}

/// A prober shares its task's network, where the task is on the loopback address.
fn loopback(protocol: Protocol) -> IpAddr {
    match protocol {
        Protocol::IPv6 => Ipv6Addr::LOCALHOST.into(),
        Protocol::IPv4 => Ipv4Addr::LOCALHOST.into(),
    }
}

fn timeout(seconds: f64) -> Option<u64> {
    Some(nanoseconds(seconds)).filter(|ns| *ns > 0)
}

/// A negative one, which the master refuses, counts as zero; one that is too long as the longest.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_in_mesos() {
        let tcp = v1::CheckInfo {
            r#type: Some(check_info::Type::Tcp.into()),
            tcp: Some(check_info::Tcp { port: 80 }),
            ..Default::default()
        };
        let (probe, rhythm) = of_check(&tcp).expect("it has a kind");
        assert_eq!(probe.timeout_ns, Some(20_000_000_000));
        assert_eq!(rhythm, Rhythm { delay_ns: 15_000_000_000, interval_ns: 10_000_000_000 });
        assert_eq!(probe.target, Target::Tcp { address: "127.0.0.1".parse().expect("one"), port: 80 });
        let hasty = v1::CheckInfo { interval_seconds: Some(0.0), timeout_seconds: Some(0.0), ..tcp };
        let (probe, rhythm) = of_check(&hasty).expect("it has a kind");
        assert_eq!((probe.timeout_ns, rhythm.interval_ns), (None, INTERVAL_NS_MIN));
    }

    #[test]
    fn a_health_check_may_be_over_tls_or_ipv6() {
        let mut asked = v1::HealthCheck {
            r#type: Some(health_check::Type::Http.into()),
            http: Some(health_check::HttpCheckInfo { port: 443, ..Default::default() }),
            ..Default::default()
        };
        let mut check = |change: &dyn Fn(&mut health_check::HttpCheckInfo), tls: bool, ip: &str| {
            change(asked.http.as_mut().expect("it has one"));
            let (probe, _) = of_health_check(&asked).expect("it has a kind");
            let Target::Http { is_tls, address, .. } = probe.target else { panic!("another kind") };
            assert_eq!((is_tls, address.to_string().as_str()), (tls, ip));
        };
        check(&|_| {}, false, "127.0.0.1");
        check(&|http| http.scheme = Some("https".to_owned()), true, "127.0.0.1");
        check(&|http| http.protocol = Some(Protocol::IPv6.into()), true, "::1");
    }
}
