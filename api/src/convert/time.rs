//! Spans and moments: doubles and nanoseconds on the wire, integers in the model.

use model::limits::REFUSE_DEFAULT_MS;
use model::time::UnixTime;

use crate::v1;

/// Longest refusal of an offer, nanoseconds: 365 days, as in Mesos.
const REFUSE_MAX_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// Seconds to nanoseconds. Negative is none at all; `None` for NaN and for what Mesos' 64-bit nanoseconds
/// cannot hold.
pub fn span_ns(seconds: f64) -> Option<u64> {
    let ns = seconds * 1e9;
    (ns.abs() < i64::MAX as f64).then(|| ns.max(0.0) as u64)
}

/// Seconds since 1970 to a moment; the epoch for NaN, negative and absurd ones.
pub fn moment(seconds: f64) -> UnixTime {
    // `as` saturates, and takes NaN to zero.
    UnixTime((seconds * 1e6).round() as u64)
}

/// Seconds since 1970.
pub fn seconds(moment: UnixTime) -> f64 {
    moment.0 as f64 / 1e6
}

/// A moment as operators see it.
pub fn info(moment: UnixTime) -> v1::TimeInfo {
    v1::TimeInfo { nanoseconds: i64::try_from(moment.0.saturating_mul(1000)).unwrap_or(i64::MAX) }
}

/// A span as `DurationInfo`; longer than 292 years is cut.
pub fn duration(ns: u64) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(ns).unwrap_or(i64::MAX) }
}

/// How long the refused resources stay away, nanoseconds. Where nothing is said, or something negative or
/// meaningless, the default; never over 365 days.
pub fn refuse_ns(filters: Option<&v1::Filters>) -> u64 {
    let seconds = filters.and_then(|filters| filters.refuse_seconds);
    match seconds.filter(|seconds| *seconds >= 0.0) {
        None => REFUSE_DEFAULT_MS * 1_000_000,
        Some(seconds) => span_ns(seconds).unwrap_or(REFUSE_MAX_NS).min(REFUSE_MAX_NS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_bounded_on_both_sides() {
        let refuse = |seconds| refuse_ns(Some(&v1::Filters { refuse_seconds: seconds }));
        assert_eq!(refuse(Some(0.0)), 0);
        assert_eq!(refuse(Some(1.5)), 1_500_000_000);
        for default in [None, Some(-1.0), Some(f64::NAN)] {
            assert_eq!(refuse(default), 5_000_000_000, "{default:?}");
        }
        for forever in [1e9, 1e300, f64::INFINITY] {
            assert_eq!(refuse(Some(forever)), REFUSE_MAX_NS, "{forever}");
        }
        assert_eq!(refuse_ns(None), 5_000_000_000);
    }

    #[test]
    fn a_timestamp_survives_to_the_microsecond() {
        for seconds in [1_795_328_265.313_82, 0.0, 1_795_330_994.544_532] {
            assert_eq!(super::seconds(moment(seconds)), seconds);
        }
        assert_eq!(moment(f64::NAN), UnixTime(0));
        assert_eq!(moment(-5.0), UnixTime(0));
    }
}
