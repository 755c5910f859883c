//! What a rotation does, step by step, and what is left to do where one was cut short. Decides; `files` does.
//!
//! A full file ends somewhere in a line, mostly. What comes after its last newline is moved to the next file, so that no
//! line is cut that fits into one:
//! ```text
//!   1  write what comes after the last newline to .NAME.next
//!   2  NAME.2 -> NAME.3, NAME.1 -> NAME.2     as far as there is no gap
//!   3  NAME -> NAME.1
//!   4  cut NAME.1 behind its last newline
//!   5  .NAME.next -> NAME
//! ```
//! Whoever does this may be killed between any two steps. Whoever comes next sees by the names how far it has come:
//! `.NAME.next` beside `NAME` may be half written, and counts for nothing; without `NAME` it is whole, and step 4 is still
//! to be done if `NAME.1` does not end in a newline.

/// What there is of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub current: bool,
    pub next: bool,
}

/// What is left of an earlier rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    Nothing,
    /// The next one begins anew.
    DropNext,
    /// From step 4.
    Finish,
}

pub fn recovery(found: Found) -> Recovery {
    match (found.current, found.next) {
        (true, true) => Recovery::DropNext,
        (false, true) => Recovery::Finish,
        (_, false) => Recovery::Nothing,
    }
}

/// Which of the older files are renamed to their number plus one, the oldest first. `exists`: whether there is one of that
/// number. A gap is what an earlier rotation has left that was cut short in step 2: it is filled, and nothing falls out.
pub fn shifts(files_max: u32, exists: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
    let gap = (1..files_max).find(|number| !exists(*number)).unwrap_or(files_max);
    (1..gap).rev()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files_max: u32, there: &[u32]) -> Vec<u32> {
        shifts(files_max, |number| there.contains(&number)).collect()
    }

    #[test]
    fn the_oldest_falls_out_only_if_there_is_no_gap() {
        assert_eq!(of(0, &[]), [0; 0]);
        assert_eq!(of(1, &[1]), [0; 0], "the newest replaces it");
        assert_eq!(of(3, &[1, 2, 3]), [2, 1]);
        assert_eq!(of(3, &[1]), [1]);
        assert_eq!(of(4, &[2, 3, 4]), [0; 0], "cut short when 1 had become 2");
        assert_eq!(of(4, &[1, 3, 4]), [1]);
    }

    #[test]
    fn names_tell_how_far_it_came() {
        let of = |current, next| recovery(Found { current, next });
        assert_eq!(of(true, false), Recovery::Nothing);
        assert_eq!(
            of(false, false),
            Recovery::Nothing,
            "before anything was printed, or between steps 3 and 5 without a rest"
        );
        assert_eq!(of(true, true), Recovery::DropNext);
        assert_eq!(of(false, true), Recovery::Finish);
    }
}
