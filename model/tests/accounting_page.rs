//! docs/accounting.md has a row for every figure, with the figure's unit: of containers in the first part, under the
//! heading of its group, and of the node in the second.

use model::usage::{Figure, Group, NodeUsage, Unit, Usage};

const PAGE: &str = include_str!("../../docs/accounting.md");

fn unit(of: Unit) -> &'static str {
    match of {
        Unit::Nanoseconds => "nanoseconds",
        Unit::Bytes => "bytes",
        Unit::Milli => "thousandths",
        Unit::Count => "count",
    }
}

/// The text between a heading and the next one of its rank or above.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let marks = heading.split(' ').next().expect("a heading begins with its marks");
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let rest = &text[start + 1 + heading.len()..];
    let ends = (2..=marks.len()).filter_map(|rank| rest.find(&format!("\n{} ", "#".repeat(rank))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

fn check(section: &str, figures: &[&Figure]) {
    let rows: Vec<(&str, &str)> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        })
        .collect();
    let expect: Vec<(&str, &str)> = figures.iter().map(|it| (it.name, unit(it.unit))).collect();
    assert_eq!(rows, expect);
}

#[test]
fn every_figure_of_a_container_has_its_row() {
    let part = section(PAGE, "## Figures of a container");
    for group in Group::ALL {
        let figures: Vec<&Figure> = Usage::FIGURES.iter().filter(|it| it.group == group).collect();
        check(section(part, &format!("### {}", group.as_str())), &figures);
    }
}

#[test]
fn every_figure_of_the_node_has_its_row() {
    let figures: Vec<&Figure> = NodeUsage::FIGURES.iter().collect();
    check(section(PAGE, "## Figures of the node"), &figures);
}
