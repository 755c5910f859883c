//! Limits of a process (setrlimit(2)), from `RLimitInfo`.

use api::v1::RLimitInfo;
use api::v1::r_limit_info::r_limit::Type;

use super::asked::cannot;
use crate::containerizer::plan::PlanError;
use crate::containerizer::steps::Rlimit;

/// `RLIM_INFINITY`
const INFINITY: u64 = u64::MAX;

/// # Errors
/// Names what is not a limit: an unknown type, one of two values, a soft limit above its hard one, a type twice.
pub(super) fn given(info: &RLimitInfo) -> Result<Vec<Rlimit>, PlanError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for asked in &info.rlimits {
        const FIELD: &str = "container.rlimit_info.rlimits";
        let name = asked.r#type().as_str_name();
        let Some(resource) = resource(asked.r#type()) else {
            return Err(cannot(FIELD, "a type that is missing or unknown"));
        };
        let (soft, hard) = match (asked.soft, asked.hard) {
            (Some(soft), Some(hard)) => (soft, hard),
            (None, None) => (INFINITY, INFINITY),
            _ => return Err(cannot(FIELD, format!("{name} has only one of soft and hard"))),
        };
        if soft > hard {
            return Err(cannot(FIELD, format!("{name}: soft {soft} is above hard {hard}")));
        }
        if limits.iter().any(|limit| limit.resource == resource) {
            return Err(cannot(FIELD, format!("{name} is there twice")));
        }
        limits.push(Rlimit { resource, soft, hard });
    }
    Ok(limits)
}

/// Numbers: include/uapi/asm-generic/resource.h, the same on all machines that we know.
fn resource(kind: Type) -> Option<u32> {
    Some(match kind {
        Type::RlmtCpu => 0,
        Type::RlmtFsize => 1,
        Type::RlmtData => 2,
        Type::RlmtStack => 3,
        Type::RlmtCore => 4,
        Type::RlmtRss => 5,
        Type::RlmtNproc => 6,
        Type::RlmtNofile => 7,
        Type::RlmtMemlock => 8,
        Type::RlmtAs => 9,
        Type::RlmtLocks => 10,
        Type::RlmtSigpending => 11,
        Type::RlmtMsgqueue => 12,
        Type::RlmtNice => 13,
        Type::RlmtRtprio => 14,
        Type::RlmtRttime => 15,
        Type::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::r_limit_info::RLimit;

    fn limit(kind: Type, soft: Option<u64>, hard: Option<u64>) -> RLimit {
        RLimit { r#type: Some(kind as i32), soft, hard }
    }

    fn told(rlimits: Vec<RLimit>) -> String {
        given(&RLimitInfo { rlimits }).expect_err("a refusal").to_string()
    }

    #[test]
    fn every_type_has_its_number_and_no_value_is_no_limit() {
        let kinds = (1..=16).map(|number| Type::try_from(number).expect("a type"));
        let rlimits = kinds.map(|kind| limit(kind, None, None)).collect();
        let limits = given(&RLimitInfo { rlimits }).expect("good");
        let mut numbers: Vec<_> = limits.iter().map(|limit| limit.resource).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..16).collect::<Vec<_>>());
        assert!(limits.iter().all(|limit| limit.soft == u64::MAX && limit.hard == u64::MAX));
    }

    #[test]
    fn what_is_no_limit_is_refused_by_name() {
        let begin = "container.rlimit_info.rlimits cannot be had: ";
        assert_eq!(
            told(vec![limit(Type::Unknown, None, None)]),
            format!("{begin}a type that is missing or unknown")
        );
        let half = limit(Type::RlmtNofile, Some(1), None);
        assert_eq!(told(vec![half]), format!("{begin}RLMT_NOFILE has only one of soft and hard"));
        let above = limit(Type::RlmtCpu, Some(3), Some(2));
        assert_eq!(told(vec![above]), format!("{begin}RLMT_CPU: soft 3 is above hard 2"));
        let twice = limit(Type::RlmtAs, None, None);
        assert_eq!(told(vec![twice, twice]), format!("{begin}RLMT_AS is there twice"));
    }
}
