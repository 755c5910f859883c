//! `cargo xtask test`: provides what the tests need, then runs them all. Nothing is printed after the runner's own
//! closing lines; a test that cannot run here says so itself, on stderr, as it is skipped.

use anyhow::Result;

use crate::{needs, sh};

/// Which tests to run.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only these packages (default: the whole workspace).
    #[arg(long, short = 'p', value_name = "PACKAGE")]
    package: Vec<String>,
    /// Passed on to `cargo test` as they stand: `cargo xtask test -- --lib share -- --nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    needs::provide()?;
    let python = needs::pymesos_python()?;
    // The end-to-end tests start the real binaries, which `cargo test` alone does not promise to build.
    sh::run(sh::cargo().args(["build", "--workspace", "--bins"]))?;

    let mut test = sh::cargo();
    test.args(["test", "--no-fail-fast"]);
    if args.package.is_empty() {
        test.arg("--workspace");
    }
    for package in &args.package {
        test.args(["--package", package]);
    }
    test.args(&args.rest);
    test.env("INGOT_TEST_BIN_DIR", sh::target_dir()?.join("debug"));
    if let Some(python) = python {
        test.env("INGOT_TEST_PYMESOS_PYTHON", python);
    }
    sh::run(&mut test)
}
