//! Says when and by whom this binary is built: `/version` and the web page show it.
//!
//! `SOURCE_DATE_EPOCH` (seconds since 1970) makes builds that are byte for byte the same.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| text.parse::<u64>().is_ok());
    let user = match fixed {
        // A build that can be repeated anywhere was not made by anyone in particular.
        Some(_) => "reproducible".to_owned(),
        None => std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
    };
    let time = fixed.unwrap_or_else(now);
    println!("cargo:rustc-env=INGOT_BUILD_TIME={time}");
    println!("cargo:rustc-env=INGOT_BUILD_USER={user}");
}

#[allow(clippy::disallowed_methods, reason = "a build script is no part of the daemons")]
fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string()
}
