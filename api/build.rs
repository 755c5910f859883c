//! Compiles `proto/` in pure Rust: prost types, and the tables that the JSON reader and writer walk.
//!
//! Two outputs in `OUT_DIR`: one `<package>.rs` per package (prost), and `tables.rs`, which holds for each
//! message what prost does not keep at run time: field names, labels, defaults and enum names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
};

/// Lists that JSON shows even when they are empty, by message: Mesos writes these answers by hand.
const SHOWN_EMPTY: &[(&str, &[&str])] = &[
    ("mesos.v1.agent.Response.GetExecutors", &["executors", "completed_executors"]),
    ("mesos.v1.agent.Response.GetFrameworks", &["frameworks", "completed_frameworks"]),
    (
        "mesos.v1.agent.Response.GetTasks",
        &["pending_tasks", "queued_tasks", "launched_tasks", "terminated_tasks", "completed_tasks"],
    ),
    ("mesos.v1.master.Response.GetAgents", &["agents", "recovered_agents"]),
    ("mesos.v1.master.Response.GetExecutors", &["executors"]),
    ("mesos.v1.master.Response.GetFrameworks", &["frameworks", "completed_frameworks"]),
    ("mesos.v1.master.Response.GetTasks", &["tasks", "unreachable_tasks", "completed_tasks"]),
];

fn main() {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    origin();
    let mut files = Vec::new();
    collect(Path::new("proto"), &mut files);
    files.sort();
    let mut set = protox::compile(&files, ["proto"]).expect("the proto files compile");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("tables.rs"), Tables::of(&set).render()).expect("OUT_DIR is writable");
    // The mark has done its work in the tables; on the types it would only make every use of them warn.
    set.file.iter_mut().flat_map(|file| &mut file.message_type).for_each(undeprecate);
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .btree_map(["."])
        .compile_fds(set)
        .expect("prost accepts the descriptors");
}

/// Says when and by whom it is built: both daemons' `/version` and web page show it.
///
/// `SOURCE_DATE_EPOCH` (seconds since 1970) makes builds that are byte for byte the same.
fn origin() {
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

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("proto/ is readable") {
        let path = entry.expect("proto/ is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
}

fn undeprecate(message: &mut DescriptorProto) {
    for options in message.field.iter_mut().filter_map(|field| field.options.as_mut()) {
        options.deprecated = None;
    }
    for options in message.enum_type.iter_mut().flat_map(|e| &mut e.value).filter_map(|v| v.options.as_mut())
    {
        options.deprecated = None;
    }
    message.nested_type.iter_mut().for_each(undeprecate);
}

/// All messages and enums by full name (with the leading dot that `type_name` carries).
#[derive(Default)]
struct Tables<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
}

impl<'a> Tables<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut tables = Self::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                tables.message(&package, message);
            }
            for enumeration in &file.enum_type {
                tables.enums.insert(format!("{package}.{}", enumeration.name()), enumeration);
            }
        }
        tables
    }

    fn message(&mut self, scope: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.message(&name, nested);
        }
        for enumeration in &message.enum_type {
            self.enums.insert(format!("{name}.{}", enumeration.name()), enumeration);
        }
        self.messages.insert(name, message);
    }

    fn render(&self) -> String {
        let mut out = String::new();
        for (name, enumeration) in &self.enums {
            let values: Vec<_> =
                enumeration.value.iter().map(|v| format!("({:?}, {})", v.name(), v.number())).collect();
            let symbol = symbol('E', name);
            let values = values.join(", ");
            writeln!(out, "static {symbol}: Enum = Enum {{ values: &[{values}] }};").expect("String");
        }
        for (name, message) in &self.messages {
            let mut fields: Vec<_> = message.field.iter().collect();
            fields.sort_by_key(|field| field.number());
            let full = &name[1..];
            let shown = SHOWN_EMPTY.iter().find(|(message, _)| *message == full).map_or(&[][..], |(_, f)| f);
            let fields: Vec<_> = fields.into_iter().map(|field| self.field(field, shown)).collect();
            let symbol = symbol('M', name);
            let fields = fields.join(", ");
            writeln!(out, "static {symbol}: Message = Message {{ name: {full:?}, fields: &[{fields}] }};")
                .expect("String");
        }
        let all: Vec<_> = self.messages.keys().map(|name| format!("&{}", symbol('M', name))).collect();
        // Sorted by full name, as a BTreeMap iterates: the lookup is a binary search.
        writeln!(out, "static MESSAGES: &[&Message] = &[{}];", all.join(", ")).expect("String");
        out
    }

    fn field(&self, field: &FieldDescriptorProto, shown_empty: &[&str]) -> String {
        let label = match field.label() {
            Label::Optional => "Optional",
            Label::Required => "Required",
            Label::Repeated => "Repeated",
        };
        let kind = match field.r#type() {
            Type::Double => "Kind::Double".to_owned(),
            Type::Float => "Kind::Float".to_owned(),
            Type::Int64 => "Kind::Int64".to_owned(),
            Type::Uint64 => "Kind::Uint64".to_owned(),
            Type::Int32 => "Kind::Int32".to_owned(),
            Type::Uint32 => "Kind::Uint32".to_owned(),
            Type::Bool => "Kind::Bool".to_owned(),
            Type::String => "Kind::String".to_owned(),
            Type::Bytes => "Kind::Bytes".to_owned(),
            Type::Enum => format!("Kind::Enum(&{})", symbol('E', field.type_name())),
            Type::Message => {
                let entry = self.messages[field.type_name()].options.as_ref();
                let kind = if entry.is_some_and(|o| o.map_entry()) { "Map" } else { "Message" };
                format!("Kind::{kind}(&{})", symbol('M', field.type_name()))
            }
            other => panic!("{}: the API has no fields of type {other:?}", field.name()),
        };
        let (name, number) = (field.name(), field.number());
        let default =
            if shown_empty.contains(&name) { "Some(Default::List)".to_owned() } else { default(field) };
        format!(
            "Field {{ name: {name:?}, number: {number}, label: Label::{label}, kind: {kind}, default: {default} }}"
        )
    }
}

/// The default that JSON shows where the field is unset. Mesos hides those of deprecated fields.
fn default(field: &FieldDescriptorProto) -> String {
    let deprecated = field.options.as_ref().is_some_and(|options| options.deprecated());
    let (Some(text), false) = (&field.default_value, deprecated) else { return "None".to_owned() };
    match field.r#type() {
        Type::Double => format!("Some(Default::Double({:?}))", text.parse::<f64>().expect("a double")),
        Type::Bool => format!("Some(Default::Bool({text}))"),
        Type::String | Type::Enum => format!("Some(Default::Text({text:?}))"),
        Type::Int32 | Type::Uint32 | Type::Int64 | Type::Uint64 => format!("Some(Default::Int({text}))"),
        other => panic!("{}: no default of type {other:?} is known", field.name()),
    }
}

/// `.mesos.v1.TaskInfo` -> `M_MESOS_V1_TASKINFO`; underscores are doubled so that no two names meet.
fn symbol(prefix: char, name: &str) -> String {
    format!("{prefix}{}", name.replace('_', "__").replace('.', "_").to_uppercase())
}
