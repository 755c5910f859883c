//! Callgrind's output, as far as it is needed: what one object spent in its own functions, and how often it asked for
//! memory. The format: https://valgrind.org/docs/manual/cl-format.html, with names and positions written out.

use std::path::Path;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Of the program's own code, what is inlined into it included.
    pub(super) instructions: u64,
    /// Calls of malloc and its like, from wherever.
    pub(super) allocations: u64,
}

const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];

pub(super) fn counts(text: &str, program: &Path) -> Counts {
    let program = program.to_string_lossy();
    let mut counts = Counts::default();
    let (mut is_own, mut is_allocator, mut is_inclusive) = (false, false, false);
    for line in text.lines() {
        match line.split_once('=') {
            Some(("ob", object)) => is_own = object == program,
            // Names end in a tick where callgrind tells recursion apart.
            Some(("cfn", name)) => {
                is_allocator = ALLOCATORS.contains(&name.split('\'').next().unwrap_or_default())
            }
            Some(("calls", rest)) => {
                let count = rest.split(' ').next().and_then(|count| count.parse::<u64>().ok());
                counts.allocations += count.filter(|_| is_allocator).unwrap_or(0);
                // The next line is what all those calls cost, with all below them.
                is_inclusive = true;
            }
            Some(_) => {}
            None => {
                let Some(cost) = cost(line) else { continue };
                if is_own && !is_inclusive {
                    counts.instructions += cost;
                }
                is_inclusive = false;
            }
        }
    }
    counts
}

/// A line is `POSITION COST`; a header is not.
fn cost(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    position.parse::<u64>().ok()?;
    cost.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "version: 1\npositions: line\nevents: Ir\n\nob=/x/program\nfl=a.rs\nfn=program::work\n\
        10 100\nfi=b.rs\n11 7\ncob=/lib/libc.so.6\ncfi=malloc.c\ncfn=malloc\ncalls=3 0\n12 900\n\
        cfn=program::work'2\ncalls=5 10\n13 50\n14 1\n\nob=/lib/libc.so.6\nfl=malloc.c\nfn=malloc\n0 900\n\
        totals: 1008\n";

    #[test]
    fn only_the_programs_own_lines_are_summed() {
        let counts = counts(OUTPUT, Path::new("/x/program"));
        assert_eq!(counts, Counts { instructions: 108, allocations: 3 });
    }
}
