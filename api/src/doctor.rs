//! What a machine can and cannot measure and enforce: the report that `ingot-agent doctor` writes, an agent serves at
//! `/doctor` and `ingot doctor` shows. What is found is the agent's affair (`agent::doctor`).

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// How wide a terminal may be taken to be, columns.
const WIDTH: usize = 80;
/// The column where texts begin.
const INDENT: usize = 24;

/// What was found on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub host: String,
    /// `agent`: of an agent that runs, as it found things; `probe`: tried just now.
    pub by: By,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Agent,
    Probe,
}

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub area: Area,
    /// Of a figure or limit: as `/state` and the metrics name it.
    pub name: String,
    pub state: State,
    /// What is there, or why it is not.
    pub says: String,
    /// The command that would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// What measuring and enforcing rest on.
    Machine,
    Measure,
    Enforce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// There, by a lesser way.
    Less,
    Missing,
}

impl State {
    const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Less => "less",
            Self::Missing => "NO",
        }
    }
}

impl Report {
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|it| it.state == state).count()
    }

    /// Each command that would change something, with the names of what it would.
    fn remedies(&self) -> Vec<(&str, Vec<&str>)> {
        let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
        for finding in &self.findings {
            let Some(remedy) = finding.remedy.as_deref() else { continue };
            match all.iter_mut().find(|(it, _)| *it == remedy) {
                Some((_, names)) if names.contains(&&*finding.name) => {}
                Some((_, names)) => names.push(&finding.name),
                None => all.push((remedy, vec![&finding.name])),
            }
        }
        all
    }
}

/// For people, in lines of at most 80 columns but where one word is longer.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Agent => "as its agent found it",
            By::Probe => "tried just now",
        };
        writeln!(out, "{} ({by})", self.host)?;
        for (area, title) in [
            (Area::Machine, "THE MACHINE"),
            (Area::Measure, "WHAT CONTAINERS USE IS MEASURED"),
            (Area::Enforce, "CONTAINERS ARE HELD TO"),
        ] {
            let findings = || self.findings.iter().filter(|it| it.area == area);
            if findings().next().is_none() {
                continue;
            }
            writeln!(out, "\n{title}")?;
            for finding in findings() {
                let head = format!("  {:<5} {:<15} ", finding.state.mark(), finding.name);
                paragraph(out, &head, INDENT, &finding.says)?;
            }
        }
        let remedies = self.remedies();
        if !remedies.is_empty() {
            writeln!(out, "\nTO CHANGE IT")?;
        }
        for (remedy, names) in remedies {
            paragraph(out, "  for ", 6, &names.join(", "))?;
            writeln!(out, "    {remedy}")?;
        }
        match (self.count(State::Missing), self.count(State::Less)) {
            (0, 0) => writeln!(out, "\nEverything is there."),
            (0, less) => writeln!(out, "\nNothing is missing; {less} by a lesser way."),
            (missing, 0) => writeln!(out, "\nMissing: {missing}."),
            (missing, less) => writeln!(out, "\nMissing: {missing}; by a lesser way: {less}."),
        }
    }
}

/// `head`, then the text, broken between words and its further lines indented.
fn paragraph(out: &mut fmt::Formatter<'_>, head: &str, indent: usize, text: &str) -> fmt::Result {
    let mut line = format!("{head:<indent$}");
    let mut is_begun = false;
    for word in text.split_whitespace() {
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
            is_begun = false;
        }
        write!(line, "{}{word}", if is_begun { " " } else { "" })?;
        is_begun = true;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(area: Area, name: &str, state: State, says: &str, remedy: Option<&str>) -> Finding {
        Finding { area, name: name.into(), state, says: says.into(), remedy: remedy.map(Into::into) }
    }

    fn report() -> Report {
        let reboot = Some("reboot");
        Report {
            host: "node-1, Linux 6.12".into(),
            by: By::Probe,
            findings: vec![
                finding(Area::Machine, "kernel", State::Ok, "Linux 6.12", None),
                finding(Area::Measure, "memory", State::Less, &"resident pages ".repeat(9), reboot),
                finding(Area::Enforce, "memory", State::Missing, "cgroup v1 holds it", reboot),
                finding(Area::Enforce, "cpu", State::Missing, "cgroup v1 holds it", reboot),
            ],
        }
    }

    #[test]
    fn a_report_fits_a_terminal_and_names_each_command_once() {
        let text = report().to_string();
        let expect = "\
node-1, Linux 6.12 (tried just now)

THE MACHINE
  ok    kernel          Linux 6.12

WHAT CONTAINERS USE IS MEASURED
  less  memory          resident pages resident pages resident pages resident
                        pages resident pages resident pages resident pages
                        resident pages resident pages

CONTAINERS ARE HELD TO
  NO    memory          cgroup v1 holds it
  NO    cpu             cgroup v1 holds it

TO CHANGE IT
  for memory, cpu
    reboot

Missing: 2; by a lesser way: 1.
";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let text = serde_json::to_string(&report()).expect("texts");
        assert!(text.contains(r#""area":"enforce","name":"cpu","state":"missing""#), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("a report"), report());
    }
}
