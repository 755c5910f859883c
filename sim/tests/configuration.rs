//! docs/configuration.md tells every flag of both daemons: what it means, its default, its variable. It is made from what
//! they parse. After a change of the flags: `UPDATE=1 cargo test -p sim --test configuration`.

use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# Configuration

Every flag of the two daemons, as they tell them themselves by `--help`; a test holds this page against that. Each may be
written with dashes or with underscores, as Mesos writes its own, and be set in the environment instead; the command line
goes before the environment. Durations are a number and a unit (`ns`, `us`, `ms`, `secs`, `mins`, `hrs`, `days`, `weeks`),
sizes a number and a unit (`B`, `KB`, `MB`, `GB`, `TB`, each 1,024 of the one before), as in Mesos.
";

#[test]
fn the_page_tells_every_flag() {
    let page = [
        HEAD.to_owned(),
        section("ingot-master", "`INGOT_` or `MESOS_` and the flag's name", &ingot_master::config::command()),
        section("ingot-agent", "those beside the flags", &ingot_agent::config::Config::command()),
    ]
    .concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "after a change of the flags: UPDATE=1 cargo test -p sim --test configuration");
}

fn section(daemon: &str, variables: &str, command: &Command) -> String {
    let mut text =
        format!("\n## {daemon}\n\nIts variables: {variables}, in capitals and with underscores.\n");
    let mut flags: Vec<&Arg> = command.get_arguments().filter(|it| !it.is_hide_set()).collect();
    flags.retain(|flag| !matches!(flag.get_long(), None | Some("help" | "version")));
    flags.sort_by_key(|flag| flag.get_long());
    for flag in flags {
        let name = flag.get_long().expect("others were left out");
        let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty(), "{daemon} does not say what --{name} means");
        let variable = flag.get_env().map(|it| format!(" (`{}`)", it.to_string_lossy())).unwrap_or_default();
        let _ = write!(
            text,
            "\n- `--{name}`{variable}: {}",
            help.trim().replace("\n\n", "\n").replace('\n', "\n  ")
        );
        let words =
            |values: Vec<String>| values.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        let allowed =
            flag.get_possible_values().iter().map(|it| it.get_name().to_owned()).collect::<Vec<_>>();
        if flag.get_action().takes_values() && !allowed.is_empty() {
            let _ = write!(text, "\n  One of {}.", words(allowed));
        }
        let defaults = flag.get_default_values();
        if flag.get_action().takes_values() && !defaults.is_empty() {
            let told = defaults.iter().map(|it| it.to_string_lossy().into_owned()).collect();
            let _ = write!(text, "\n  Default: {}.", words(told));
        }
    }
    text.push('\n');
    text
}
