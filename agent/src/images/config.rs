//! What an image says of how it wants to be run, and what comes of that and of what the framework asks for. Decides.

use api::v1;

/// Of an image's configuration what a container is made by. Texts as the image has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Names and values. What is no `NAME=value` was left out, as by Mesos.
    pub env: Vec<(String, String)>,
    /// `name`, `number`, `name:group`, `number:number`; empty: none.
    pub user: String,
    /// Absolute; `None` where the image has none.
    pub working_dir: Option<String>,
    /// As `SIGQUIT` or `3`. Tasks end by their framework's kill policy, so this is only shown.
    pub stop_signal: Option<String>,
}

/// Neither the framework nor the image says what to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No executable is found: the command has no value, and the image neither an entrypoint nor a cmd")]
pub struct NoExecutable;

impl Config {
    /// What is run, by the table of Mesos (docs/isolators/docker-runtime.md): a shell line and a program that is named are
    /// the framework's alone; else the image's entrypoint runs with the framework's arguments, which take the place of
    /// its cmd; without an entrypoint it is the first word of cmd.
    pub fn command(&self, asked: &v1::CommandInfo) -> Result<v1::CommandInfo, NoExecutable> {
        let has_value = asked.value.as_deref().is_some_and(|value| !value.is_empty());
        if asked.shell() || has_value {
            return Ok(asked.clone());
        }
        let (words, defaults) = match (&*self.entrypoint, &*self.cmd) {
            ([], []) => return Err(NoExecutable),
            ([], [program, defaults @ ..]) => (std::slice::from_ref(program), defaults),
            (words, defaults) => (words, defaults),
        };
        let more = if asked.arguments.is_empty() { defaults } else { &asked.arguments };
        let arguments = words.iter().chain(more).cloned().collect();
        Ok(v1::CommandInfo { value: words.first().cloned(), arguments, ..asked.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Every cell of the table: rows of (shell, value, arguments), columns of (entrypoint, cmd).
    #[test]
    fn framework_and_image_together_say_what_is_run() {
        let columns = [("", ""), ("", "c0 c1"), ("e0 e1", ""), ("e0 e1", "c0 c1")];
        type Row = (bool, &'static str, &'static str, [Option<(&'static str, &'static str)>; 4]);
        let rows: [Row; 6] = [
            (
                false,
                "",
                "",
                [None, Some(("c0", "c0 c1")), Some(("e0", "e0 e1")), Some(("e0", "e0 e1 c0 c1"))],
            ),
            (
                false,
                "",
                "a b",
                [None, Some(("c0", "c0 a b")), Some(("e0", "e0 e1 a b")), Some(("e0", "e0 e1 a b"))],
            ),
            (false, "v", "", [Some(("v", "")); 4]),
            (false, "v", "a b", [Some(("v", "a b")); 4]),
            (true, "v", "", [Some(("v", "")); 4]),
            (true, "v", "a b", [Some(("v", "a b")); 4]),
        ];
        for (shell, value, arguments, expect) in rows {
            for ((entrypoint, cmd), expect) in columns.into_iter().zip(expect) {
                let config = Config { entrypoint: words(entrypoint), cmd: words(cmd), ..Config::default() };
                let asked = v1::CommandInfo {
                    shell: Some(shell),
                    value: Some(value.to_owned()).filter(|value| !value.is_empty()),
                    arguments: words(arguments),
                    ..v1::CommandInfo::default()
                };
                let found = config.command(&asked);
                let expect = expect.map(|(value, arguments)| v1::CommandInfo {
                    value: Some(value.to_owned()),
                    arguments: words(arguments),
                    ..asked.clone()
                });
                assert_eq!(found.ok(), expect, "{asked:?} in {config:?}");
            }
        }
    }

    #[test]
    fn a_shell_without_a_line_gets_none_from_the_image() {
        let config = Config { cmd: words("c0"), ..Config::default() };
        let asked = v1::CommandInfo { shell: Some(true), ..v1::CommandInfo::default() };
        assert_eq!(config.command(&asked).expect("refused later").value, None);
    }
}
