//! What was built, and when.

use crate::v1;
use serde::Serialize;

/// When and by whom this binary was built, as `build.rs` found it; empty or zero where it could not.
pub const BUILD_USER: &str = env!("INGOT_BUILD_USER");
const BUILD_TIME: &str = env!("INGOT_BUILD_TIME");

/// Seconds since 1970.
pub fn build_time() -> f64 {
    BUILD_TIME.parse().unwrap_or(0.0)
}

/// `2020-11-24 15:38:37`, UTC.
pub fn build_date() -> String {
    date(BUILD_TIME.parse().unwrap_or(0))
}

/// `/version`
#[derive(Serialize)]
pub struct Version {
    build_date: String,
    build_time: f64,
    build_user: &'static str,
    version: &'static str,
}

impl Version {
    pub fn of(version: &'static str) -> Self {
        Self { build_date: build_date(), build_time: build_time(), build_user: BUILD_USER, version }
    }
}

/// The same, for the operator API.
pub fn info(version: &str) -> v1::VersionInfo {
    v1::VersionInfo {
        version: version.into(),
        build_date: Some(build_date()),
        build_time: Some(build_time()),
        build_user: Some(BUILD_USER.into()),
        ..v1::VersionInfo::default()
    }
}

/// Days to a date of the civil calendar, after Howard Hinnant's `civil_from_days`.
fn date(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that a leap day comes last; eras are 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(1_606_232_317), "2020-11-24 15:38:37");
        assert_eq!(date(1_709_164_800), "2024-02-29 00:00:00");
        assert_eq!(date(4_107_542_399), "2100-02-28 23:59:59");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00");
    }
}
