//! The paths that a Rust source names (`std::fs::File`, `crate::net`), found by its tokens: strings and comments do not
//! count, `use` groups are spelled out, and what stands under `#[cfg(test)]` is left out. Aliases are not followed; a
//! rule therefore also forbids the modules through which a forbidden thing would be reached.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as written, and its line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// All paths of two segments or more, and single names that a `use` or `extern crate` brings in.
/// A file that is no Rust gives none: the compiler has more to say about that.
pub(crate) fn paths(source: &str) -> Vec<Named> {
    let mut found = Vec::new();
    if let Ok(tokens) = TokenStream::from_str(source) {
        walk(tokens, &[], false, &mut found);
    }
    found
}

/// Each identifier in the source with its line, tests included.
pub(crate) fn words(source: &str) -> Vec<(String, usize)> {
    fn collect(tokens: TokenStream, found: &mut Vec<(String, usize)>) {
        for token in tokens {
            match token {
                TokenTree::Ident(word) => found.push((word.to_string(), word.span().start().line)),
                TokenTree::Group(group) => collect(group.stream(), found),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    if let Ok(tokens) = TokenStream::from_str(source) {
        collect(tokens, &mut found);
    }
    found
}

/// The modules that a source declares under `#[cfg(test)]` and keeps in files of their own.
pub(crate) fn test_modules(source: &str) -> Vec<String> {
    let tokens: Vec<TokenTree> = TokenStream::from_str(source).into_iter().flatten().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(attribute) = token else { continue };
        if !is_cfg_test(attribute) {
            continue;
        }
        let item = &tokens[at + 1..item_end(&tokens, at + 1)];
        if let [.., TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Punct(end)] = item
            && keyword == "mod"
            && end.as_char() == ';'
        {
            found.push(name.to_string());
        }
    }
    found
}

/// `prefix` is what stands before a `use` group; `importing` says that single names count too.
fn walk(tokens: TokenStream, prefix: &[String], importing: bool, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut importing_here = importing;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                at = match tokens.get(at + 1) {
                    Some(TokenTree::Group(attribute)) if is_cfg_test(attribute) => item_end(&tokens, at + 2),
                    _ => at + 1,
                };
            }
            TokenTree::Punct(punct) => {
                if punct.as_char() == ';' {
                    importing_here = importing;
                }
                at += 1;
            }
            TokenTree::Ident(word) if word == "use" || word == "crate" && after(&tokens, at, "extern") => {
                importing_here = true;
                at += 1;
            }
            TokenTree::Ident(word) if importing_here && word == "as" => at += 2, // A name of our own.
            TokenTree::Ident(_) => at = path(&tokens, at, prefix, importing_here, found),
            TokenTree::Group(group) => {
                walk(group.stream(), &[], false, found);
                at += 1;
            }
            TokenTree::Literal(_) => at += 1,
        }
    }
}

/// Reads the path that begins at `at`; returns where to go on.
fn path(
    tokens: &[TokenTree],
    at: usize,
    prefix: &[String],
    importing: bool,
    found: &mut Vec<Named>,
) -> usize {
    // `.name` is a field or method and `<T as Trait>::name` belongs to the type: neither begins a path.
    let owned = is_punct(tokens.get(at.wrapping_sub(1)), '.')
        || at >= 3 && is_colons(tokens, at - 2) && is_punct(tokens.get(at - 3), '>');
    let line = tokens[at].span().start().line;
    let mut segments = prefix.to_vec();
    let mut next = at;
    loop {
        match tokens.get(next) {
            Some(TokenTree::Ident(word)) => {
                segments.push(word.to_string().trim_start_matches("r#").to_owned())
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                walk(group.stream(), &segments, true, found);
                return next + 1;
            }
            _ => break, // `*` and `::<…>` end a path.
        }
        next += 1;
        if !is_colons(tokens, next) {
            break;
        }
        next += 2;
    }
    if !owned && (segments.len() >= 2 || importing) {
        found.push(Named { segments, line });
    }
    next.max(at + 1)
}

fn is_cfg_test(attribute: &Group) -> bool {
    let words: Vec<String> =
        words(&attribute.stream().to_string()).into_iter().map(|(word, _)| word).collect();
    words.first().is_some_and(|it| it == "cfg")
        && words.iter().any(|it| it == "test")
        && !words.iter().any(|it| it == "not")
}

/// Where the item that begins at `at` (or at its next attribute) ends: after its first braces or semicolon.
fn item_end(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    tokens.iter().skip(at).position(ends).map_or(tokens.len(), |length| at + length + 1)
}

fn after(tokens: &[TokenTree], at: usize, word: &str) -> bool {
    matches!(tokens.get(at.wrapping_sub(1)), Some(TokenTree::Ident(before)) if before == word)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

#[cfg(test)]
mod tests {
    use super::{paths, test_modules};

    #[track_caller]
    fn check(source: &str, expect: &[&str]) {
        let found: Vec<String> = paths(source).into_iter().map(|it| it.segments.join("::")).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn paths_are_found_where_they_are_code() {
        check("use std::fs;", &["std::fs"]);
        check("use mio;", &["mio"]);
        check("use std::{fs as files, io as _};", &["std::fs", "std::io"]);
        check("extern crate mio;", &["mio"]);
        check("use std::{fs, net::{TcpStream, *}};", &["std::fs", "std::net::TcpStream"]);
        check("fn f() { ::aya::load(x.y, a::<B>::c()) }", &["aya::load"]);
        check("#[derive(prost::Message)] struct A { b: mio::Token }", &["prost::Message", "mio::Token"]);
        check("fn f() { x.collect::<Vec<_>>(); let y = g(z); }", &[]);
        check("fn f() { <T as U>::mio::x() }", &[]);
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_found() {
        let source =
            "mod a; #[cfg(test)] pub(crate) mod b; #[cfg(test)] mod c { mod d; } #[cfg(not(test))] mod e;";
        assert_eq!(test_modules(source), ["b"]);
    }

    #[test]
    fn strings_comments_and_tests_do_not_count() {
        check("// std::fs\n/* mio::x */ const A: &str = \"aya::b\";", &[]);
        check("#[cfg(test)] mod tests { use std::fs; } use mio::A;", &["mio::A"]);
        check(
            "#[cfg(all(test, not_loom))] #[allow(x)] use std::fs; use mio::A;",
            &["std::fs", "mio::A"][1..],
        );
        check("#[cfg(not(test))] use std::fs;", &["std::fs"]);
    }
}
