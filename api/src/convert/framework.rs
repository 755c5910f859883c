//! Frameworks as they describe themselves.

use model::framework::{Capabilities, FrameworkInfo};
use model::id::FrameworkId;
use model::role::{BadRole, Role};

use super::{Error, body, open, text, time};
use crate::v1;
use crate::v1::framework_info::Capability;

/// Why a framework may not subscribe. The texts are Mesos' (`src/master/validation.cpp`).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadFramework {
    #[error("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable")]
    RoleOfMultiRole,
    #[error("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable")]
    RolesOfSingleRole,
    #[error("'FrameworkInfo.roles' contains duplicate items: {{ {0} }}")]
    Duplicate(Role),
    #[error("'FrameworkInfo.roles' contains invalid role: {0}")]
    Roles(BadRole),
    #[error("'FrameworkInfo.role' is not a valid role: {0}")]
    Role(BadRole),
    #[error("The framework failover_timeout ({0}) is invalid")]
    FailoverTimeout(String),
}

impl From<BadFramework> for Error {
    fn from(bad: BadFramework) -> Self {
        Self::Framework(bad)
    }
}

pub fn from_v1(info: &v1::FrameworkInfo) -> Result<FrameworkInfo, Error> {
    let numbers = info.capabilities.iter().filter_map(|capability| capability.r#type);
    let numbers = numbers.filter_map(|number| u32::try_from(number).ok());
    let capabilities = numbers.fold(Capabilities::default(), Capabilities::with_number);
    let roles = roles_from_v1(info, capabilities.has(Capabilities::MULTI_ROLE))?;
    // An empty id asks for a new one, as none does.
    let id = info.id.as_ref().filter(|id| !id.value.is_empty());
    let framework_id = id.map(FrameworkId::try_from).transpose()?;
    let failover_timeout = info.failover_timeout();
    Ok(FrameworkInfo {
        framework_id,
        name: text(&info.name),
        user: text(&info.user),
        roles,
        capabilities,
        failover_timeout_ns: time::span_ns(failover_timeout)
            .ok_or_else(|| BadFramework::FailoverTimeout(number(failover_timeout)))?,
        checkpoint: info.checkpoint(),
        hostname: text(info.hostname()),
        webui_url: info.webui_url.as_deref().map(text),
        principal: info.principal.as_deref().map(text),
        body: body(info),
    })
}

/// As C++ writes a double that is too large for a time: `1e+300`.
fn number(value: f64) -> String {
    format!("{value:e}").replace('e', "e+").replace("e+-", "e-")
}

fn roles_from_v1(info: &v1::FrameworkInfo, is_multi: bool) -> Result<Vec<Role>, BadFramework> {
    if !is_multi {
        if !info.roles.is_empty() {
            return Err(BadFramework::RolesOfSingleRole);
        }
        return Ok(vec![Role::parse(info.role()).map_err(BadFramework::Role)?]);
    }
    if info.role.is_some() {
        return Err(BadFramework::RoleOfMultiRole);
    }
    let mut roles: Vec<Role> = Vec::with_capacity(info.roles.len());
    for role in &info.roles {
        let role = Role::parse(role).map_err(BadFramework::Roles)?;
        if roles.contains(&role) {
            return Err(BadFramework::Duplicate(role));
        }
        roles.push(role);
    }
    Ok(roles)
}

pub fn to_v1(info: &FrameworkInfo) -> Result<v1::FrameworkInfo, Error> {
    let mut out: v1::FrameworkInfo = open(&info.body)?;
    out.id = info.framework_id.as_ref().map(Into::into);
    out.name = info.name.to_string();
    out.user = info.user.to_string();
    if info.capabilities.has(Capabilities::MULTI_ROLE) {
        out.roles = info.roles.iter().map(|role| role.to_string()).collect();
    } else {
        // A framework that named no role gets none back.
        let role = info.roles.first().filter(|role| out.role.is_some() || !role.is_star());
        out.role = role.map(|role| role.to_string());
    }
    let beyond = |capability: &Capability| {
        let number = capability.r#type.and_then(|number| u32::try_from(number).ok());
        number.is_none_or(|number| Capabilities::default().with_number(number) == Capabilities::default())
    };
    out.capabilities.retain(beyond);
    let known = info.capabilities.numbers();
    let known = known.map(|number| Capability { r#type: i32::try_from(number).ok() });
    out.capabilities.splice(0..0, known);
    out.failover_timeout = Some(info.failover_timeout_ns as f64 / 1e9)
        .filter(|seconds| out.failover_timeout.is_some() || *seconds > 0.0);
    out.checkpoint = Some(info.checkpoint).filter(|checkpoint| out.checkpoint.is_some() || *checkpoint);
    out.hostname = Some(info.hostname.to_string()).filter(|name| out.hostname.is_some() || !name.is_empty());
    out.webui_url = info.webui_url.as_ref().map(|url| url.to_string());
    out.principal = info.principal.as_ref().map(|principal| principal.to_string());
    Ok(out)
}
