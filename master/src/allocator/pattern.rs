//! Regular expressions of offer constraints, in RE2's syntax as far as frameworks use it: a pattern matches a text as a
//! whole, in linear time, and is no larger than an operator allows.
//!
//! The classes `\d`, `\s` and `\w` and the boundary `\b` mean ASCII, as in RE2; all else is Unicode. Not known, unlike in RE2:
//! `\C` and `\Q..\E`.

use regex_automata::nfa::thompson::backtrack::BoundedBacktracker;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::{Anchored, Input};
use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{Hir, Look};
use std::sync::Arc;

/// How large a pattern may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What its compiled form may take.
    pub memory_bytes: usize,
    /// How many states that may have: about one a character, ten for a `.`, and three for the whole.
    pub program_size: usize,
}

/// As Mesos (`src/master/constants.hpp`).
impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 4096, program_size: 100 }
    }
}

/// Why a text is no pattern here. The beginnings are Mesos' words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPattern {
    #[error("Failed to construct regex from pattern '{pattern}': {why}")]
    Syntax { pattern: String, why: String },
    #[error("Failed to construct regex from pattern '{pattern}': it takes more than {max} bytes")]
    Memory { pattern: String, max: usize },
    #[error(
        "Regex '{pattern}' is too complex: program size of {size} is larger than maximum of {max} allowed"
    )]
    Size { pattern: String, size: usize, max: usize },
}

/// Two are equal when they were written alike. Nothing in it changes, so that workers share it without waiting for each other.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    program: NFA,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    pub fn new(pattern: &str, limits: Limits) -> Result<Self, BadPattern> {
        let syntax = |why: String| BadPattern::Syntax { pattern: pattern.to_owned(), why: in_one_line(&why) };
        let ascii = with_ascii_classes(pattern).map_err(|error| syntax(error.to_string()))?;
        let inner = regex_syntax::parse(&ascii).map_err(|error| syntax(error.to_string()))?;
        let program = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(limits.memory_bytes));
        let whole = Hir::concat(vec![Hir::look(Look::Start), inner, Hir::look(Look::End)]);
        let program = NFA::compiler().configure(program).build_from_hir(&whole);
        let program = program.map_err(|error| match error.size_limit() {
            Some(max) => BadPattern::Memory { pattern: pattern.to_owned(), max },
            None => syntax(error.to_string()),
        })?;
        let (size, max) = (program.states().len(), limits.program_size);
        if size > max {
            return Err(BadPattern::Size { pattern: pattern.to_owned(), size, max });
        }
        Ok(Self { text: Arc::from(pattern), program })
    }

    /// Whether it matches the whole text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let input = || Input::new(text).anchored(Anchored::Yes);
        // Faster, but what it has tried already it remembers by state and place: of a long text that is too much.
        if let Ok(matcher) = BoundedBacktracker::new_from_nfa(self.program.clone())
            && let Ok(is_match) = matcher.try_is_match(&mut matcher.create_cache(), input())
        {
            return is_match;
        }
        let matcher = PikeVM::new_from_nfa(self.program.clone());
        matcher.is_ok_and(|matcher| matcher.is_match(&mut matcher.create_cache(), input()))
    }
}

/// The last line of a message that draws where in the pattern the fault is.
fn in_one_line(why: &str) -> String {
    let last = why.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The pattern with the classes that mean ASCII spelled out.
fn with_ascii_classes(pattern: &str) -> Result<String, Box<ast::Error>> {
    let ast = ast::parse::Parser::new().parse(pattern)?;
    let places = ast::visit(&ast, Classes::default())?;
    let mut out = pattern.to_owned();
    for (span, instead) in places.into_iter().rev() {
        out.replace_range(span.start.offset..span.end.offset, instead);
    }
    Ok(out)
}

/// What is to be replaced, in the order of the pattern.
#[derive(Default)]
struct Classes(Vec<(ast::Span, &'static str)>);

impl Classes {
    fn replace_class(&mut self, class: &ast::ClassPerl) {
        let instead = match (&class.kind, class.negated) {
            (ast::ClassPerlKind::Digit, false) => "[0-9]",
            (ast::ClassPerlKind::Digit, true) => "[^0-9]",
            // Without the vertical tab, as in RE2.
            (ast::ClassPerlKind::Space, false) => r"[\t\n\x0C\r\x20]",
            (ast::ClassPerlKind::Space, true) => r"[^\t\n\x0C\r\x20]",
            (ast::ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ast::ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, instead));
    }
}

impl ast::Visitor for Classes {
    type Output = Vec<(ast::Span, &'static str)>;
    type Err = Box<ast::Error>;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.replace_class(class),
            Ast::Assertion(assertion) => match assertion.kind {
                ast::AssertionKind::WordBoundary => self.0.push((assertion.span, r"(?-u:\b)")),
                ast::AssertionKind::NotWordBoundary => self.0.push((assertion.span, r"(?-u:\B)")),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        if let ast::ClassSetItem::Perl(class) = item {
            self.replace_class(class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let read = Pattern::new(pattern, Limits::default()).expect("a pattern");
        yes.iter().for_each(|text| assert!(read.is_match(text), "{pattern} {text}"));
        no.iter().for_each(|text| assert!(!read.is_match(text), "{pattern} {text}"));
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        check("", &[""], &["a"]);
        check("a|ab", &["a", "ab"], &["abc", "xa"]);
        check(r"node-[0-9]+", &["node-1", "node-123"], &["node-", "xnode-1", "node-1.example", "node-1\n"]);
        check(
            r".*\.example\.(com|org)",
            &["a.example.com", "ä.example.org"],
            &["example.com", "a.examplexcom"],
        );
        check("(?i)rack", &["RACK", "rack"], &["racks"]);
        check("(?x) r 1 # a comment", &["r1"], &["r 1"]);
        let long = "a".repeat(100_000);
        check("a*", &[&long], &[&format!("{long}b")]);
        check("h.llo", &["hello", "hällo"], &["hllo"]);
    }

    #[test]
    fn classes_are_ascii() {
        check(r"\d+", &["19"], &["١٩", ""]);
        check(r"[\d.]+", &["1.9"], &["١"]);
        check(r"\w\W", &["a ", "_-"], &["ä ", "ab"]);
        check(r"[^\s\d]+", &["abc"], &["a c", "a1"]);
        check(r"a\b.*", &["a", "a b", "aä"], &["ab"]);
        check(r"\s\S", &["\ta"], &["  ", "\u{a0}a"]);
    }

    #[test]
    fn what_is_no_pattern_or_too_large_is_refused_with_a_reason() {
        let why = |pattern: &str, limits| Pattern::new(pattern, limits).expect_err("bad").to_string();
        let default = Limits::default();
        for (pattern, says) in [("(", "unclosed group"), ("[b-a]", "range"), (r"\p{Nonsense}", "property")] {
            let error = why(pattern, default);
            let start = format!("Failed to construct regex from pattern '{pattern}': ");
            assert!(error.starts_with(&start) && error.contains(says) && !error.contains('\n'), "{error}");
        }
        let few = Limits { program_size: 16, ..default };
        assert!(Pattern::new("ten-is-few", few).is_ok());
        let error = why("seventeen-is-more", few);
        assert!(error.contains("too complex") && error.contains("maximum of 16"), "{error}");
        assert!(why("a{1000}", default).contains("4096 bytes"));
        let roomy = Limits { memory_bytes: 1 << 20, program_size: 2000 };
        assert!(Pattern::new("a{1000}", roomy).is_ok());
    }
}
