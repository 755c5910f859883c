//! Attributes of agents.

use crate::convert::agent;
use crate::v1::{self, value};
use model::agent_info::AgentInfo;
use serde::{Serialize, Serializer};

/// What the operator called the agent: `{"rack": "r1", "disks": "[1-4]", "cores": 8.0}`.
pub struct Attributes(Vec<v1::Attribute>);

impl Attributes {
    pub fn of(info: &AgentInfo) -> Self {
        // Our own encoding; a damaged one has no attributes.
        Self(agent::to_v1(info, None).map(|info| info.attributes).unwrap_or_default())
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|attribute| (&attribute.name, attribute_value(attribute))))
    }
}

fn attribute_value(attribute: &v1::Attribute) -> serde_json::Value {
    match attribute.r#type() {
        value::Type::Scalar => attribute.scalar.as_ref().map_or(0.0, |scalar| scalar.value).into(),
        value::Type::Ranges => {
            let pairs = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
            let pairs: Vec<_> = pairs.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", pairs.join(", ")).into()
        }
        value::Type::Set => {
            let items = attribute.set.as_ref().map_or(&[][..], |set| &set.item);
            format!("{{{}}}", items.join(", ")).into()
        }
        value::Type::Text => attribute.text.as_ref().map_or("", |text| &text.value).into(),
    }
}
