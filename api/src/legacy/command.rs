//! Commands.

use crate::json::{Value, View};
use serde::Serialize;

/// What an executor or a task runs.
#[derive(Default, Serialize)]
pub struct Command<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    argv: Vec<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Value<'a>>,
    uris: Vec<Uri<'a>>,
}

#[derive(Serialize)]
struct Uri<'a> {
    value: &'a str,
    executable: bool,
}

impl<'a> Command<'a> {
    pub fn of(asked: Option<View<'a>>) -> Self {
        let Some(asked) = asked else { return Self::default() };
        let uri = |uri: Value<'a>| {
            let uri = uri.message()?;
            let executable = uri.get("executable").and_then(|executable| executable.flag());
            Some(Uri { value: uri.get("value")?.text()?, executable: executable.unwrap_or(false) })
        };
        Self {
            shell: asked.get("shell").and_then(|shell| shell.flag()),
            value: asked.get("value").and_then(|value| value.text()),
            argv: asked.list("arguments").collect(),
            environment: asked.get("environment"),
            uris: asked.list("uris").filter_map(uri).collect(),
        }
    }
}
