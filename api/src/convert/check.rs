//! Whether checks and health checks say what is to be probed. The texts are Mesos' (`src/common/validation.cpp`).

use crate::v1;
use crate::v1::environment::Variable;
use crate::v1::{check_info, environment, health_check};

/// What is wrong with a check, or with a health check.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadCheck {
    #[error("{message} must specify 'type'")]
    NoType { message: &'static str },
    #[error("'UNKNOWN' is not a valid {noun} type")]
    UnknownType { noun: &'static str },
    #[error("Expecting '{field}' to be set for {kind} {noun}")]
    NoMember { field: &'static str, kind: &'static str, noun: &'static str },
    #[error("Command {noun} must contain {what}")]
    NoCommand { noun: &'static str, what: &'static str },
    #[error("{whose} `CommandInfo` is invalid: {why}")]
    Command { whose: &'static str, why: BadVariable },
    #[error("Unsupported HTTP health check scheme: '{0}'")]
    Scheme(String),
    #[error("The path '{path}' of HTTP {noun} must start with '/'")]
    Path { path: String, noun: &'static str },
    #[error("Expecting '{0}' to be non-negative")]
    Negative(&'static str),
}

/// What is wrong with a variable of a check's command.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadVariable {
    #[error("Environment variable '{0}' of type 'SECRET' must have a secret set")]
    NoSecret(String),
    #[error("Environment variable '{0}' of type 'SECRET' must not have a value set")]
    SecretAndValue(String),
    #[error("Environment variable '{0}' of type 'VALUE' must have a value set")]
    NoValue(String),
    #[error("Environment variable '{0}' of type 'VALUE' must not have a secret set")]
    ValueAndSecret(String),
    #[error("Environment variable of type 'UNKNOWN' is not allowed")]
    Unknown,
}

/// What messages call the two of them.
struct Words {
    message: &'static str,
    noun: &'static str,
    whose: &'static str,
}

const CHECK: Words = Words { message: "CheckInfo", noun: "check", whose: "Check's" };
const HEALTH: Words = Words { message: "HealthCheck", noun: "health check", whose: "Health check's" };

pub fn check(asked: &v1::CheckInfo) -> Result<(), BadCheck> {
    use check_info::Type;
    // A number without a name counts as unset.
    match asked.r#type.and_then(|kind| Type::try_from(kind).ok()) {
        None => return Err(BadCheck::NoType { message: CHECK.message }),
        Some(Type::Unknown) => return Err(BadCheck::UnknownType { noun: CHECK.noun }),
        Some(Type::Command) => {
            let told = asked.command.as_ref().ok_or(CHECK.lacks("command", "COMMAND"))?;
            CHECK.command(&told.command)?;
        }
        Some(Type::Http) => {
            let told = asked.http.as_ref().ok_or(CHECK.lacks("http", "HTTP"))?;
            CHECK.path(told.path.as_deref())?;
        }
        Some(Type::Tcp) if asked.tcp.is_none() => return Err(CHECK.lacks("tcp", "TCP")),
        Some(Type::Tcp) => {}
    }
    not_negative(&[
        ("delay_seconds", asked.delay_seconds),
        ("interval_seconds", asked.interval_seconds),
        ("timeout_seconds", asked.timeout_seconds),
    ])
}

pub fn health_check(asked: &v1::HealthCheck) -> Result<(), BadCheck> {
    use health_check::Type;
    match asked.r#type.and_then(|kind| Type::try_from(kind).ok()) {
        None => return Err(BadCheck::NoType { message: HEALTH.message }),
        Some(Type::Unknown) => return Err(BadCheck::UnknownType { noun: HEALTH.noun }),
        Some(Type::Command) => {
            HEALTH.command(asked.command.as_ref().ok_or(HEALTH.lacks("command", "COMMAND"))?)?;
        }
        Some(Type::Http) => {
            let told = asked.http.as_ref().ok_or(HEALTH.lacks("http", "HTTP"))?;
            if let Some(other) = told.scheme.as_deref().filter(|it| !matches!(*it, "http" | "https")) {
                return Err(BadCheck::Scheme(other.to_owned()));
            }
            HEALTH.path(told.path.as_deref())?;
        }
        Some(Type::Tcp) if asked.tcp.is_none() => return Err(HEALTH.lacks("tcp", "TCP")),
        Some(Type::Tcp) => {}
    }
    not_negative(&[
        ("delay_seconds", asked.delay_seconds),
        ("grace_period_seconds", asked.grace_period_seconds),
        ("interval_seconds", asked.interval_seconds),
        ("timeout_seconds", asked.timeout_seconds),
    ])
}

impl Words {
    fn lacks(&self, field: &'static str, kind: &'static str) -> BadCheck {
        BadCheck::NoMember { field, kind, noun: self.noun }
    }

    fn command(&self, command: &v1::CommandInfo) -> Result<(), BadCheck> {
        if command.value.is_none() {
            let what = if command.shell() { "'shell command'" } else { "'executable path'" };
            return Err(BadCheck::NoCommand { noun: self.noun, what });
        }
        let mut variables = command.environment.iter().flat_map(|it| &it.variables);
        variables.try_for_each(variable).map_err(|why| BadCheck::Command { whose: self.whose, why })
    }

    fn path(&self, path: Option<&str>) -> Result<(), BadCheck> {
        match path.filter(|path| !path.starts_with('/')) {
            Some(path) => Err(BadCheck::Path { path: path.to_owned(), noun: self.noun }),
            None => Ok(()),
        }
    }
}

fn variable(variable: &Variable) -> Result<(), BadVariable> {
    use environment::variable::Type;
    let name = || variable.name.clone();
    match (variable.r#type(), &variable.value, &variable.secret) {
        (Type::Unknown, ..) => Err(BadVariable::Unknown),
        (Type::Secret, _, None) => Err(BadVariable::NoSecret(name())),
        (Type::Secret, Some(_), _) => Err(BadVariable::SecretAndValue(name())),
        (Type::Value, None, _) => Err(BadVariable::NoValue(name())),
        (Type::Value, _, Some(_)) => Err(BadVariable::ValueAndSecret(name())),
        _ => Ok(()),
    }
}

fn not_negative(spans: &[(&'static str, Option<f64>)]) -> Result<(), BadCheck> {
    match spans.iter().find(|(_, seconds)| seconds.is_some_and(|seconds| seconds < 0.0)) {
        Some((field, _)) => Err(BadCheck::Negative(field)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> v1::HealthCheck {
        v1::HealthCheck {
            r#type: Some(health_check::Type::Http.into()),
            http: Some(health_check::HttpCheckInfo { port: 80, ..Default::default() }),
            ..Default::default()
        }
    }

    fn command(value: Option<&str>, shell: bool) -> v1::CommandInfo {
        v1::CommandInfo { value: value.map(str::to_owned), shell: Some(shell), ..Default::default() }
    }

    #[test]
    fn a_bad_health_check_is_told_in_mesos_words() {
        let check = |bad: v1::HealthCheck, expect: &str| {
            assert_eq!(health_check(&bad).expect_err(expect).to_string(), expect);
        };
        let of =
            |kind: health_check::Type| v1::HealthCheck { r#type: Some(kind.into()), ..Default::default() };
        assert_eq!(health_check(&http()), Ok(()));
        check(v1::HealthCheck::default(), "HealthCheck must specify 'type'");
        check(of(health_check::Type::Unknown), "'UNKNOWN' is not a valid health check type");
        check(of(health_check::Type::Command), "Expecting 'command' to be set for COMMAND health check");
        check(of(health_check::Type::Http), "Expecting 'http' to be set for HTTP health check");
        check(of(health_check::Type::Tcp), "Expecting 'tcp' to be set for TCP health check");
        for (shell, what) in [(true, "'shell command'"), (false, "'executable path'")] {
            let bad =
                v1::HealthCheck { command: Some(command(None, shell)), ..of(health_check::Type::Command) };
            check(bad, &format!("Command health check must contain {what}"));
        }
        let with = |change: fn(&mut health_check::HttpCheckInfo)| {
            let mut bad = http();
            bad.http.as_mut().map(change).expect("it has one");
            bad
        };
        let scheme = with(|http| http.scheme = Some("ftp".to_owned()));
        check(scheme, "Unsupported HTTP health check scheme: 'ftp'");
        let path = with(|http| http.path = Some("health".to_owned()));
        check(path, "The path 'health' of HTTP health check must start with '/'");
        let negative = v1::HealthCheck { grace_period_seconds: Some(-0.1), ..http() };
        check(negative, "Expecting 'grace_period_seconds' to be non-negative");
    }

    #[test]
    fn a_bad_check_is_told_in_mesos_words() {
        let of = |kind: check_info::Type| v1::CheckInfo { r#type: Some(kind.into()), ..Default::default() };
        let check = |bad: v1::CheckInfo, expect: &str| {
            assert_eq!(super::check(&bad).expect_err(expect).to_string(), expect);
        };
        check(v1::CheckInfo::default(), "CheckInfo must specify 'type'");
        check(of(check_info::Type::Unknown), "'UNKNOWN' is not a valid check type");
        check(of(check_info::Type::Tcp), "Expecting 'tcp' to be set for TCP check");
        let tcp = v1::CheckInfo { tcp: Some(check_info::Tcp { port: 1 }), ..of(check_info::Type::Tcp) };
        assert_eq!(super::check(&tcp), Ok(()));
        let late = v1::CheckInfo { interval_seconds: Some(-1.0), ..tcp };
        check(late, "Expecting 'interval_seconds' to be non-negative");
        let with_variable = |variable| {
            let mut command = command(Some("true"), true);
            command.environment = Some(v1::Environment { variables: vec![variable] });
            let command = Some(check_info::Command { command });
            v1::CheckInfo { command, ..of(check_info::Type::Command) }
        };
        let empty = Variable { name: "A".to_owned(), ..Default::default() };
        let expect = "Check's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a \
                      value set";
        check(with_variable(empty.clone()), expect);
        let good = Variable { value: Some(String::new()), ..empty };
        assert_eq!(super::check(&with_variable(good)), Ok(()));
    }
}
